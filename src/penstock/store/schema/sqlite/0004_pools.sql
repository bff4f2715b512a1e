-- Which decisions named a sending IP.
CREATE TABLE sent (
  ip TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (ip, id)
) WITHOUT ROWID;
CREATE INDEX sent_id ON sent (id);

CREATE TABLE ip_states (
  ip TEXT PRIMARY KEY,
  row BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE pins (
  account TEXT PRIMARY KEY,
  row BLOB NOT NULL
) WITHOUT ROWID;

-- `closed_at` is 0 while a case is open.
CREATE TABLE cases (
  id TEXT PRIMARY KEY,
  closed_at REAL NOT NULL,
  row BLOB NOT NULL
) WITHOUT ROWID;
