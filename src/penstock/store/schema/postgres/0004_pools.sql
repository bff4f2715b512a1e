-- Which decisions named a sending IP.
CREATE TABLE sent (
  ip text COLLATE "C",
  id text COLLATE "C",
  PRIMARY KEY (ip, id)
);
CREATE INDEX sent_id ON sent (id);

CREATE TABLE ip_states (
  ip text COLLATE "C" PRIMARY KEY,
  packed bytea NOT NULL
);

CREATE TABLE pins (
  account text COLLATE "C" PRIMARY KEY,
  packed bytea NOT NULL
);

-- `closed_at` is 0 while a case is open.
CREATE TABLE cases (
  id text COLLATE "C" PRIMARY KEY,
  closed_at float8 NOT NULL,
  packed bytea NOT NULL
);
