-- Table of saga/barrier on Postgres 13 and later. Times are milliseconds since
-- 1970, UTC, by the server's clock.

CREATE TABLE keelson_barrier (
    saga text NOT NULL,
    step text NOT NULL,
    kind text NOT NULL, -- do or undo
    late integer NOT NULL, -- of do: its undo came first
    answer text, -- JSON
    at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    PRIMARY KEY (saga, step, kind)
);

CREATE INDEX keelson_barrier_at ON keelson_barrier (at);
