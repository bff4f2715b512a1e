-- What came back about accounts: bounces, complaints, spamtraps, listings. Kept as long as decisions are.
CREATE TABLE events (
  account TEXT NOT NULL,
  at REAL NOT NULL,
  key TEXT NOT NULL,
  row BLOB NOT NULL,
  PRIMARY KEY (account, at, key)
) WITHOUT ROWID;
CREATE INDEX events_at ON events (at);
