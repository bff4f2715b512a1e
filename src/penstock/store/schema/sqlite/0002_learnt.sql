-- What people said about messages: hashes to learn from, never the message. `undone_at` here is the truth.
CREATE TABLE examples (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  at REAL NOT NULL,
  who TEXT NOT NULL,
  account TEXT NOT NULL,
  tenant TEXT NOT NULL,
  digest TEXT NOT NULL,
  undone_at REAL NOT NULL DEFAULT 0,
  row BLOB NOT NULL,
  traits BLOB NOT NULL
);
CREATE UNIQUE INDEX examples_digest ON examples (digest) WHERE undone_at = 0;
CREATE INDEX examples_account ON examples (account, id);
CREATE INDEX examples_at ON examples (at);

-- Changes whenever examples are undone or expire, so that running processes learn anew.
CREATE TABLE learnt (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  generation INTEGER NOT NULL
);
INSERT INTO learnt VALUES (1, 0);

CREATE TABLE remembered (
  id TEXT PRIMARY KEY,
  at REAL NOT NULL,
  row BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX remembered_at ON remembered (at);
