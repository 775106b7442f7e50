-- Tables of eventsource/eventsql on SQLite 3.35 and later. keelson_ stands for
-- the prefix. There is one writer at a time, so that the order of commits is
-- the order of positions.

CREATE TABLE keelson_events (
    position INTEGER PRIMARY KEY, -- the rowid, which every index below ends in
    id TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL, -- '' is in no stream
    version INTEGER, -- null without a stream
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    tags TEXT, -- a JSON array of strings, null if empty
    meta TEXT, -- a JSON object of strings, null if empty
    data BLOB, -- null if empty
    at INTEGER NOT NULL, -- microseconds since 1970, UTC
    UNIQUE (stream, version)
);

-- Not what (stream, version) is for: this one gives a stream in the order of
-- positions, from any of them on.
CREATE INDEX keelson_events_stream ON keelson_events (stream);

CREATE INDEX keelson_events_type ON keelson_events (type);

CREATE TABLE keelson_tags (
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) WITHOUT ROWID;

CREATE TABLE keelson_checkpoints (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    data BLOB
) WITHOUT ROWID;
