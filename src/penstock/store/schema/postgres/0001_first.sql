-- Names sort by code point, as they do in the other backends. `packed` is the whole record as msgpack; the columns beside
-- it are what is searched.
CREATE TABLE decisions (
  id text COLLATE "C" PRIMARY KEY,
  at float8 NOT NULL,
  account text COLLATE "C" NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  wanted text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  mail_from text COLLATE "C" NOT NULL,
  queue_id text COLLATE "C" NOT NULL,
  message_id text COLLATE "C" NOT NULL,
  packed bytea NOT NULL
);
CREATE INDEX decisions_at ON decisions USING brin (at);
CREATE INDEX decisions_account ON decisions (account, id);
CREATE INDEX decisions_acted ON decisions (id) WHERE wanted <> 'accept' OR action <> 'accept';
CREATE INDEX decisions_queue_id ON decisions (queue_id) WHERE queue_id <> '';
CREATE INDEX decisions_message_id ON decisions (message_id) WHERE message_id <> '';
CREATE TABLE recipients (
  rcpt text COLLATE "C",
  id text COLLATE "C",
  PRIMARY KEY (rcpt, id)
);
CREATE INDEX recipients_id ON recipients (id);
CREATE TABLE deliveries (
  id text COLLATE "C" PRIMARY KEY,
  packed bytea NOT NULL
);

CREATE TABLE accounts (
  account text COLLATE "C" PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  standing text COLLATE "C" NOT NULL,
  evidence float8 NOT NULL,
  seen_at float8 NOT NULL,
  packed bytea NOT NULL
);
CREATE INDEX accounts_evidence ON accounts (evidence DESC, account);
CREATE INDEX accounts_seen ON accounts (seen_at DESC, account);
CREATE INDEX accounts_tenant ON accounts (tenant, account);

-- `state` and `changed_at` are the truth; what `packed` says of them is from when the message came.
CREATE TABLE held (
  id text COLLATE "C" PRIMARY KEY,
  account text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  held_at float8 NOT NULL,
  changed_at float8 NOT NULL,
  lease_until float8 NOT NULL DEFAULT 0,
  packed bytea NOT NULL,
  raw bytea
);
ALTER TABLE held ALTER COLUMN raw SET STORAGE EXTERNAL;
CREATE INDEX held_state ON held (state, held_at);
CREATE INDEX held_account ON held (account, id);

CREATE TABLE audit (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at float8 NOT NULL,
  target text COLLATE "C" NOT NULL,
  packed bytea NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_target ON audit (target, at);

CREATE TABLE outbox (
  key text COLLATE "C" PRIMARY KEY,
  at float8 NOT NULL,
  topic text COLLATE "C" NOT NULL,
  done_at float8,
  outcome text NOT NULL DEFAULT '',
  packed bytea NOT NULL
);
CREATE INDEX outbox_waiting ON outbox (topic, at) WHERE done_at IS NULL;

CREATE TABLE meta (
  key text COLLATE "C" PRIMARY KEY,
  value bytea NOT NULL
);
