-- Table of saga/barrier on SQLite 3.35 and later. Times are milliseconds since
-- 1970, UTC.

CREATE TABLE keelson_barrier (
    saga TEXT NOT NULL,
    step TEXT NOT NULL,
    kind TEXT NOT NULL, -- do or undo
    late INTEGER NOT NULL, -- of do: its undo came first
    answer TEXT, -- JSON
    at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    PRIMARY KEY (saga, step, kind)
);

CREATE INDEX keelson_barrier_at ON keelson_barrier (at);
