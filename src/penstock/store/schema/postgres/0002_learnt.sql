-- What people said about messages: hashes to learn from, never the message. `undone_at` here is the truth.
CREATE TABLE examples (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  at float8 NOT NULL,
  who text COLLATE "C" NOT NULL,
  account text COLLATE "C" NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  digest text COLLATE "C" NOT NULL,
  undone_at float8 NOT NULL DEFAULT 0,
  packed bytea NOT NULL,
  traits bytea NOT NULL
);
CREATE UNIQUE INDEX examples_digest ON examples (digest) WHERE undone_at = 0;
CREATE INDEX examples_account ON examples (account, id);
CREATE INDEX examples_at ON examples (at);

-- Changes whenever examples are undone or expire, so that running processes learn anew. Whoever writes examples locks
-- its one row first, so that their numbers become visible in order.
CREATE TABLE learnt (
  only_one int PRIMARY KEY CHECK (only_one = 1),
  generation bigint NOT NULL
);
INSERT INTO learnt VALUES (1, 0);

CREATE TABLE remembered (
  id text COLLATE "C" PRIMARY KEY,
  at float8 NOT NULL,
  packed bytea NOT NULL
);
CREATE INDEX remembered_at ON remembered USING brin (at);
