-- A target on a list, from `since` to `until`; 0 while it is listed.
CREATE TABLE listings (
  target TEXT NOT NULL,
  list TEXT NOT NULL,
  since REAL NOT NULL,
  until REAL NOT NULL,
  row BLOB NOT NULL,
  PRIMARY KEY (target, list, since)
) WITHOUT ROWID;
CREATE INDEX listings_open ON listings (target, list) WHERE until = 0;

CREATE TABLE listing_changes (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  row BLOB NOT NULL
);
