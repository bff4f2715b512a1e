-- Held mail of one state, and what was wanted of one tenant's mail, newest first.
CREATE INDEX held_newest ON held (state, id);
CREATE INDEX decisions_tenant_wanted ON decisions (tenant, wanted, id) WHERE wanted <> 'accept' OR action <> 'accept';
