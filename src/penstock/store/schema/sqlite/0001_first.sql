-- Hot state: bytes by key; the meaning is the judge's alone.
CREATE TABLE state (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL,
  until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX state_until ON state (until);

-- Decisions: what is searched as columns, the whole row as msgpack.
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
) WITHOUT ROWID;
CREATE INDEX decisions_account ON decisions (account, id);
CREATE INDEX decisions_acted ON decisions (id) WHERE wanted <> 'accept' OR action <> 'accept';
CREATE INDEX decisions_queue_id ON decisions (queue_id) WHERE queue_id <> '';
CREATE INDEX decisions_message_id ON decisions (message_id) WHERE message_id <> '';
CREATE TABLE recipients (
  rcpt TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (rcpt, id)
) WITHOUT ROWID;
CREATE INDEX recipients_id ON recipients (id);
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY,
  row BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE accounts (
  account TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  standing TEXT NOT NULL,
  evidence REAL NOT NULL,
  seen_at REAL NOT NULL,
  row BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_evidence ON accounts (evidence DESC, account);
CREATE INDEX accounts_seen ON accounts (seen_at DESC, account);
CREATE INDEX accounts_tenant ON accounts (tenant, account);

CREATE TABLE held (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  state TEXT NOT NULL,
  held_at REAL NOT NULL,
  lease_until REAL NOT NULL DEFAULT 0,
  row BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX held_state ON held (state, held_at);
CREATE INDEX held_account ON held (account, id);

CREATE TABLE audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  target TEXT NOT NULL,
  row BLOB NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_target ON audit (target, at);

CREATE TABLE outbox (
  key TEXT PRIMARY KEY,
  at REAL NOT NULL,
  topic TEXT NOT NULL,
  done_at REAL,
  outcome TEXT NOT NULL DEFAULT '',
  row BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX outbox_waiting ON outbox (topic, at) WHERE done_at IS NULL;

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;
