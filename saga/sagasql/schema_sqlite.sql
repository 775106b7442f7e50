-- Tables of saga/sagasql on SQLite 3.35 and later. keelson_ stands for the prefix.
-- Times are microseconds since 1970, UTC.

CREATE TABLE keelson_saga (
    id TEXT PRIMARY KEY,
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
    pivoted INTEGER NOT NULL,
    owner text, -- null: nobody
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    mail INTEGER NOT NULL, -- messages ever posted
    mail_read INTEGER NOT NULL, -- up to this one they are in the log
    claims integer NOT NULL,
    started INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    wake_at INTEGER, -- null: not due by time
    ended INTEGER -- null: it has not; what is updated in each commit is in no index
);

CREATE INDEX keelson_saga_due ON keelson_saga (wake_at, id) WHERE owner IS NULL AND wake_at IS NOT NULL;

CREATE INDEX keelson_saga_held ON keelson_saga (owner) WHERE owner IS NOT NULL;

CREATE INDEX keelson_saga_ended ON keelson_saga (ended) WHERE ended IS NOT NULL;

CREATE TABLE keelson_saga_record (
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind text NOT NULL,
    step text NOT NULL,
    code text NOT NULL,
    error text NOT NULL,
    key text NOT NULL,
    attempt integer NOT NULL,
    epoch INTEGER NOT NULL,
    state integer NOT NULL,
    at INTEGER NOT NULL,
    data text NOT NULL, -- JSON, byte for byte
    PRIMARY KEY (id, seq)
) WITHOUT ROWID;

CREATE TABLE keelson_saga_mail (
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind text NOT NULL,
    step text NOT NULL,
    code text NOT NULL,
    error text NOT NULL,
    key text NOT NULL,
    attempt integer NOT NULL,
    epoch INTEGER NOT NULL,
    state integer NOT NULL,
    at INTEGER NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (id, seq)
) WITHOUT ROWID;

CREATE UNIQUE INDEX keelson_saga_mail_key ON keelson_saga_mail (id, key) WHERE key <> '';

CREATE TABLE keelson_saga_owner (
    owner text PRIMARY KEY,
    until INTEGER NOT NULL,
    dead integer NOT NULL -- 1: its lease ran out and its sagas were freed
);
