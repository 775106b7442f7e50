-- Tables of eventsource/messaging/outbox on SQLite 3.35 and later. keelson_
-- stands for the prefix. Times are microseconds since 1970, UTC.

-- AUTOINCREMENT: a seq must not come back, or a relay that was paused could
-- delete a message that it has not sent.
CREATE TABLE keelson_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL, -- by hash of the key, or of the id where there is none
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL, -- '' is no key
    headers TEXT, -- a JSON object of strings, null if empty
    body BLOB, -- null if empty
    at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, -- failures that count
    due INTEGER NOT NULL DEFAULT 0 -- after a failure: not before
);

CREATE INDEX keelson_outbox_lane ON keelson_outbox (lane, seq);

-- Who holds a lane, and until when. claim names one claim of one relay: it is
-- the fence of all that the claim does.
CREATE TABLE keelson_outbox_lanes (
    lane INTEGER PRIMARY KEY,
    claim TEXT NOT NULL,
    until INTEGER NOT NULL
);

INSERT INTO keelson_outbox_lanes (lane, claim, until)
    VALUES (0, '', 0), (1, '', 0), (2, '', 0), (3, '', 0), (4, '', 0), (5, '', 0), (6, '', 0), (7, '', 0),
        (8, '', 0), (9, '', 0), (10, '', 0), (11, '', 0), (12, '', 0), (13, '', 0), (14, '', 0), (15, '', 0);

CREATE TABLE keelson_outbox_parked (
    seq INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    headers TEXT,
    body BLOB,
    at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    since INTEGER NOT NULL
);

CREATE TABLE keelson_inbox (
    grp TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (grp, id)
) WITHOUT ROWID;

CREATE INDEX keelson_inbox_at ON keelson_inbox (at);
