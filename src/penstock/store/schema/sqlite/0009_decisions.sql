-- Decisions with a rowid: a row of 1.5 KB then shares a page with others, where without one it took an overflow page.
-- Takes about a minute a million decisions.
ALTER TABLE decisions RENAME TO decisions_before;
CREATE TABLE decisions (
  id TEXT PRIMARY KEY,
  at REAL NOT NULL,
  account TEXT NOT NULL,
  tenant TEXT NOT NULL,
  action TEXT NOT NULL,
  wanted TEXT NOT NULL,
  reason TEXT NOT NULL,
  mail_from TEXT NOT NULL,
  queue_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  row BLOB NOT NULL
);
INSERT INTO decisions SELECT * FROM decisions_before;
DROP TABLE decisions_before;
CREATE INDEX decisions_account ON decisions (account, id);
CREATE INDEX decisions_acted ON decisions (id) WHERE wanted <> 'accept' OR action <> 'accept';
CREATE INDEX decisions_queue_id ON decisions (queue_id) WHERE queue_id <> '';
CREATE INDEX decisions_message_id ON decisions (message_id) WHERE message_id <> '';
CREATE INDEX decisions_tenant ON decisions (tenant, id);
CREATE INDEX decisions_mail_from ON decisions (mail_from, id);
CREATE INDEX decisions_reason ON decisions (reason, id) WHERE reason <> '';
CREATE INDEX decisions_wanted ON decisions (wanted, id) WHERE wanted <> 'accept' OR action <> 'accept';
CREATE INDEX decisions_tenant_wanted ON decisions (tenant, wanted, id) WHERE wanted <> 'accept' OR action <> 'accept';
