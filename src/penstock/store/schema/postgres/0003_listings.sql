-- A target on a list, from `since` to `until`; 0 while it is listed.
CREATE TABLE listings (
  target text COLLATE "C" NOT NULL,
  list text COLLATE "C" NOT NULL,
  since float8 NOT NULL,
  until float8 NOT NULL,
  packed bytea NOT NULL,
  PRIMARY KEY (target, list, since)
);
CREATE INDEX listings_open ON listings (target, list) WHERE until = 0;

CREATE TABLE listing_changes (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at float8 NOT NULL,
  packed bytea NOT NULL
);
