-- What somebody wanted done to, newest first; what was taken was also wanted.
CREATE INDEX decisions_wanted ON decisions (wanted, id) WHERE wanted <> 'accept' OR action <> 'accept';
