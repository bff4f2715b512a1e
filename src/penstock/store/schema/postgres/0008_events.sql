-- What came back about accounts: bounces, complaints, spamtraps, listings. Kept as long as decisions are.
CREATE TABLE events (
  account text COLLATE "C" NOT NULL,
  at float8 NOT NULL,
  key text COLLATE "C" NOT NULL,
  packed bytea NOT NULL,
  PRIMARY KEY (account, at, key)
);
CREATE INDEX events_at ON events USING brin (at);
