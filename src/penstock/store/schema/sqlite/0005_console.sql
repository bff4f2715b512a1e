CREATE TABLE people (
  name TEXT PRIMARY KEY,
  row BLOB NOT NULL
) WITHOUT ROWID;

-- Sessions and tokens, by the digest of their secret; `until` is 0 for what stays.
CREATE TABLE keys (
  digest TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  person TEXT NOT NULL,
  until REAL NOT NULL,
  row BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_person ON keys (person, kind);

-- Counts of decisions, made from their rows a moment later; meta `tallied` says up to which id.
CREATE TABLE tallies (
  grain TEXT NOT NULL,
  start INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  account TEXT NOT NULL,
  action TEXT NOT NULL,
  wanted TEXT NOT NULL,
  reason TEXT NOT NULL,
  messages INTEGER NOT NULL,
  recipients INTEGER NOT NULL,
  PRIMARY KEY (grain, start, tenant, account, action, wanted, reason)
) WITHOUT ROWID;
CREATE INDEX tallies_tenant ON tallies (tenant, grain, start);
CREATE INDEX tallies_acted ON tallies (grain, start) WHERE account <> '';

CREATE INDEX decisions_tenant ON decisions (tenant, id);
CREATE INDEX decisions_mail_from ON decisions (mail_from, id);
CREATE INDEX decisions_reason ON decisions (reason, id) WHERE reason <> '';
CREATE INDEX accounts_standing ON accounts (standing, evidence DESC, account);
CREATE INDEX accounts_tenant_evidence ON accounts (tenant, evidence DESC, account);
CREATE INDEX listings_since ON listings (since DESC, target, list);
