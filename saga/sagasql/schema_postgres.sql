-- Tables, types and the function of saga/sagasql on Postgres 13 and later. keelson_ stands for the prefix.
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

-- What a commit says of a saga that is there, of a new one, and of an entry in the log of
-- the n-th write. One array of these is read in a third of the time of an array for each
-- column; only rows with 16 kB of data or more take longer, as a quote is escaped twice.
CREATE TYPE keelson_saga_update AS (
    id text, can_exact text, state integer, step text, attempt integer, code text, cause text, pivoted boolean,
    epoch bigint, seq bigint, first bigint, read bigint, release boolean, wake bigint
);

CREATE TYPE keelson_saga_new AS (
    id text, name text, version integer, shape text, can_any text, can_exact text, fingerprint text,
    state integer, step text, attempt integer, code text, cause text, pivoted boolean,
    owner text, seq bigint, release boolean, wake bigint
);

CREATE TYPE keelson_saga_entry AS (
    n integer, id text, seq bigint, kind text, step text, code text, error text, key text, attempt integer, epoch bigint, state integer, data text
);

-- keelson_saga_commit is a whole commit: headers are updated where epoch and seq fit and
-- the definition is the same; those whose id is free are inserted; and the records of these
-- writes follow. It returns the clock; the numbers of the writes that it refused; and the
-- numbers of the updates whose sagas have ever got messages, with how many (posted, mails).
-- Writes are numbered from 1, updates before new sagas, both in the order of ids, so that
-- two commits take rows in one order. No id occurs twice. owners are those of new sagas.
--
-- The server keeps the plan of a session. Made while the tables are small, it would read
-- them whole, for each commit, when they have grown. The settings leave it nothing but to
-- look up each write by its key; = ANY (ARRAY[w.id]) in place of = w.id keeps it from
-- walking through the whole index of the key, since that would be in an order to merge by.
CREATE FUNCTION keelson_saga_commit(
    changes keelson_saga_update[], creations keelson_saga_new[], owners text[], entries keelson_saga_entry[],
    OUT at bigint, OUT refused integer[], OUT posted integer[], OUT mails bigint[]
) LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    now_ bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    updates integer := cardinality(changes);
    creates integer := cardinality(creations);
    live text[];
    changed integer[];
    made text[];
    reads boolean;
BEGIN
    at := now_;
    refused := '{}';
    posted := '{}';
    mails := '{}';
    IF creates > 0 THEN
        -- Locked, lest an owner be reaped between this look and the commit; and before the
        -- sagas, as a poll does.
        live := ARRAY(SELECT o.owner FROM keelson_saga_owner o WHERE o.dead = 0 AND o.owner = ANY (owners) FOR SHARE);
    END IF;
    IF updates > 0 THEN
        WITH up AS (
            UPDATE keelson_saga s SET state = w.state, step = w.step, attempt = w.attempt, code = w.code, cause = w.cause, pivoted = w.pivoted,
                owner = CASE WHEN w.release THEN NULL ELSE s.owner END, seq = CASE WHEN w.first = 0 THEN s.seq ELSE w.seq END,
                mail_read = greatest(s.mail_read, w.read), claims = 0, updated = now_,
                wake_at = CASE
                    WHEN NOT w.release AND s.owner IS NOT NULL OR w.state >= 4 THEN NULL
                    WHEN NOT w.release OR s.mail > greatest(s.mail_read, w.read) THEN now_
                    WHEN w.wake >= 0 THEN now_ + w.wake
                END,
                ended = CASE WHEN w.state >= 5 THEN now_ END
            FROM unnest(changes) WITH ORDINALITY
                AS w (id, can_exact, state, step, attempt, code, cause, pivoted, epoch, seq, first, read, release, wake, n)
            WHERE s.id = ANY (ARRAY[w.id]) AND s.epoch = w.epoch AND (w.first = 0 OR w.first = s.seq + 1) AND s.can_exact = w.can_exact
            RETURNING w.n, s.mail, w.read
        )
        SELECT coalesce(array_agg(up.n), '{}'), coalesce(array_agg(up.n) FILTER (WHERE up.mail > 0), '{}'),
            coalesce(array_agg(up.mail) FILTER (WHERE up.mail > 0), '{}'), bool_or(up.read > 0)
        FROM up INTO changed, posted, mails, reads;
        IF cardinality(changed) < updates THEN
            refused := ARRAY(SELECT n FROM generate_series(1, updates) AS n WHERE n <> ALL (changed));
        END IF;
        IF reads THEN
            DELETE FROM keelson_saga_mail m USING unnest(changes) WITH ORDINALITY
                AS w (id, can_exact, state, step, attempt, code, cause, pivoted, epoch, seq, first, read, release, wake, n)
            WHERE w.read > 0 AND w.n <> ALL (refused) AND m.id = ANY (ARRAY[w.id]) AND m.seq <= w.read AND m.key = '';
        END IF;
    END IF;
    IF creates > 0 THEN
        WITH created AS (
            INSERT INTO keelson_saga (id, name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted,
                owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at, ended)
            SELECT w.id, w.name, w.version, w.shape, w.can_any, w.can_exact, w.fingerprint, w.state, w.step, w.attempt, w.code, w.cause, w.pivoted,
                CASE WHEN w.held THEN w.owner END, 1, w.seq, 0, 0, 0, now_, now_,
                CASE
                    WHEN w.held OR w.state >= 4 THEN NULL
                    WHEN NOT w.release THEN now_
                    WHEN w.wake >= 0 THEN now_ + w.wake
                END,
                CASE WHEN w.state >= 5 THEN now_ END
            FROM (SELECT *, NOT release AND owner = ANY (live) AS held FROM unnest(creations)) w
            ON CONFLICT (id) DO NOTHING
            RETURNING id
        )
        SELECT coalesce(array_agg(created.id), '{}') FROM created INTO made;
        IF cardinality(made) < creates THEN
            refused := refused || ARRAY(SELECT updates + n FROM generate_series(1, creates) AS n WHERE creations[n].id <> ALL (made));
        END IF;
    END IF;
    INSERT INTO keelson_saga_record (id, seq, kind, step, code, error, key, attempt, epoch, state, at, data)
    SELECT r.id, r.seq, r.kind, r.step, r.code, r.error, r.key, r.attempt, r.epoch, r.state, now_, r.data
    FROM unnest(entries) r WHERE r.n <> ALL (refused);
END
$$;
