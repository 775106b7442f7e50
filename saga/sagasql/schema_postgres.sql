-- Tables of saga/sagasql on Postgres 13 and later. keelson_ stands for the prefix.
-- Times are microseconds since 1970, UTC.

CREATE TABLE keelson_saga (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    version integer NOT NULL,
    shape text NOT NULL,
    can_any text NOT NULL, -- name@version
    can_exact text NOT NULL, -- name@version/shape
    fingerprint text NOT NULL,
    state integer NOT NULL,
    step text NOT NULL,
    attempt integer NOT NULL,
    code text NOT NULL,
    cause text NOT NULL,
    pivoted boolean NOT NULL,
    owner text, -- null: nobody
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    mail bigint NOT NULL, -- messages ever posted
    mail_read bigint NOT NULL, -- up to this one they are in the log
    claims integer NOT NULL,
    started bigint NOT NULL,
    updated bigint NOT NULL,
    wake_at bigint, -- null: not due by time
    ended bigint -- null: it has not; what is updated in each commit is in no index
) WITH (fillfactor = 70);

CREATE INDEX keelson_saga_due ON keelson_saga (wake_at, id) WHERE owner IS NULL AND wake_at IS NOT NULL;

CREATE INDEX keelson_saga_held ON keelson_saga (owner) WHERE owner IS NOT NULL;

CREATE INDEX keelson_saga_ended ON keelson_saga (ended) WHERE ended IS NOT NULL;

CREATE TABLE keelson_saga_record (
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    step text NOT NULL,
    code text NOT NULL,
    error text NOT NULL,
    key text NOT NULL,
    attempt integer NOT NULL,
    epoch bigint NOT NULL,
    state integer NOT NULL,
    at bigint NOT NULL,
    data text NOT NULL, -- JSON, byte for byte
    PRIMARY KEY (id, seq)
);

CREATE TABLE keelson_saga_mail (
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    step text NOT NULL,
    code text NOT NULL,
    error text NOT NULL,
    key text NOT NULL,
    attempt integer NOT NULL,
    epoch bigint NOT NULL,
    state integer NOT NULL,
    at bigint NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (id, seq)
);

CREATE UNIQUE INDEX keelson_saga_mail_key ON keelson_saga_mail (id, key) WHERE key <> '';

CREATE TABLE keelson_saga_owner (
    owner text PRIMARY KEY,
    until bigint NOT NULL,
    dead integer NOT NULL -- 1: its lease ran out and its sagas were freed
);
