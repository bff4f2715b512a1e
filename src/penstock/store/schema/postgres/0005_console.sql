CREATE TABLE people (
  name text COLLATE "C" PRIMARY KEY,
  packed bytea NOT NULL
);

-- Sessions and tokens, by the digest of their secret; `until` is 0 for what stays.
CREATE TABLE keys (
  digest text COLLATE "C" PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  person text COLLATE "C" NOT NULL,
  until float8 NOT NULL,
  packed bytea NOT NULL
);
CREATE INDEX keys_person ON keys (person, kind);

-- Counts of decisions, made from their rows a moment later; meta `tallied` says up to which id.
CREATE TABLE tallies (
  grain text COLLATE "C" NOT NULL,
  start bigint NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  account text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  wanted text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  messages bigint NOT NULL,
  recipients bigint NOT NULL,
  PRIMARY KEY (grain, start, tenant, account, action, wanted, reason)
);
CREATE INDEX tallies_tenant ON tallies (tenant, grain, start);
CREATE INDEX tallies_acted ON tallies (grain, start) WHERE account <> '';

CREATE INDEX decisions_tenant ON decisions (tenant, id);
CREATE INDEX decisions_mail_from ON decisions (mail_from, id);
CREATE INDEX decisions_reason ON decisions (reason, id) WHERE reason <> '';
CREATE INDEX accounts_standing ON accounts (standing, evidence DESC, account);
CREATE INDEX accounts_tenant_evidence ON accounts (tenant, evidence DESC, account);
CREATE INDEX listings_since ON listings (since DESC, target, list);
