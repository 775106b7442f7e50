-- Tables and functions of eventsource/eventsql on Postgres 13 and later.
-- keelson_ stands for the prefix.

-- Positions come from a sequence, which does not wait for transactions: they
-- have holes, and can become visible out of order. keelson_head says up to
-- where that is over. CACHE 1: a session that keeps numbers back would draw
-- them below the floor that it has locked.
CREATE SEQUENCE keelson_position CACHE 1;

CREATE TABLE keelson_events (
    position bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL CONSTRAINT keelson_events_id UNIQUE,
    stream text COLLATE "C" NOT NULL, -- '' is in no stream
    version bigint, -- null without a stream
    type text COLLATE "C" NOT NULL,
    schema bigint NOT NULL,
    tags jsonb, -- an array of strings, null if empty
    meta jsonb, -- an object of strings, null if empty
    data bytea, -- null if empty
    at timestamptz NOT NULL,
    CONSTRAINT keelson_events_version UNIQUE (stream, version)
);

ALTER SEQUENCE keelson_position OWNED BY keelson_events.position;

CREATE INDEX keelson_events_stream ON keelson_events (stream, position);

CREATE INDEX keelson_events_type ON keelson_events (type, position);

CREATE TABLE keelson_tags (
    tag text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (tag, position)
);

CREATE TABLE keelson_checkpoints (
    name text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    epoch bigint NOT NULL,
    data bytea
);

-- keelson_last is the last position drawn.
CREATE FUNCTION keelson_last() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM keelson_position
$$;

-- keelson_space is the namespace of this store's advisory locks: the upper 16
-- bits of their keys. Even ones hold the floor (kind 0), odd ones the keys of
-- appends (kind 1). It follows the sequence, so that stores of other schemas
-- and prefixes keep out of each other's way.
CREATE FUNCTION keelson_space(kind integer) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (('keelson_position'::regclass::oid::bigint * 2 + kind) & 65535) << 48
$$;

-- keelson_head returns a position at or below which nothing will ever appear.
--
-- Whoever draws positions first reads the last one drawn, L, and holds a shared
-- lock on it until its transaction is over: all its positions are above L. The
-- locks fall after the commit has become visible. So whatever was drawn before
-- `top` was read, and is above none of the floors seen after that, is visible
-- to the statements that follow, or rolled back for good. The order of the
-- three statements is what makes it true, and a snapshot for each, which a
-- VOLATILE function has under READ COMMITTED.
--
-- It returns the newest event up to there and not the number: the event's
-- commit is durable, a number drawn by a transaction that was rolled back is
-- not and would be drawn again after a crash.
CREATE FUNCTION keelson_head() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    top bigint;
    low bigint;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'keelson: a standby sees none of the locks of its primary; ask the primary'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    top := keelson_last();
    SELECT min((classid::bigint & 65535) << 32 | objid::bigint) INTO low FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid::bigint >> 16 = (keelson_space(0) >> 48) & 65535;
    RETURN coalesce((SELECT max(position) FROM keelson_events WHERE position <= least(top, low)), 0);
END
$$;

-- keelson_newest is the position of the newest event above `since` that matches
-- the item: {"s": streams, "t": types, "g": tags}, each left out if empty.
CREATE FUNCTION keelson_newest(item jsonb, since bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    in_streams text[] := CASE WHEN item ? 's' THEN ARRAY(SELECT jsonb_array_elements_text(item -> 's')) END;
    of_types text[] := CASE WHEN item ? 't' THEN ARRAY(SELECT jsonb_array_elements_text(item -> 't')) END;
    all_tags text[] := CASE WHEN item ? 'g' THEN ARRAY(SELECT jsonb_array_elements_text(item -> 'g')) END;
    newest bigint;
BEGIN
    IF all_tags IS NOT NULL THEN
        SELECT g.position INTO newest FROM keelson_tags g JOIN keelson_events e ON e.position = g.position
            WHERE g.tag = all_tags[1] AND g.position > since
                AND (in_streams IS NULL OR e.stream = ANY (in_streams))
                AND (of_types IS NULL OR e.type = ANY (of_types))
                AND NOT EXISTS (SELECT FROM unnest(all_tags[2:]) AS more (tag) WHERE NOT EXISTS (
                    SELECT FROM keelson_tags h WHERE h.tag = more.tag AND h.position = g.position))
            ORDER BY g.position DESC LIMIT 1;
    ELSIF in_streams IS NOT NULL THEN
        SELECT max(n.position) INTO newest FROM unnest(in_streams) AS s (name), LATERAL (
            SELECT e.position FROM keelson_events e
                WHERE e.stream = s.name AND e.position > since AND (of_types IS NULL OR e.type = ANY (of_types))
                ORDER BY e.stream DESC, e.position DESC LIMIT 1) n;
    ELSIF of_types IS NOT NULL THEN
        SELECT max(n.position) INTO newest FROM unnest(of_types) AS t (name), LATERAL (
            SELECT e.position FROM keelson_events e WHERE e.type = t.name AND e.position > since
                ORDER BY e.type DESC, e.position DESC LIMIT 1) n;
    ELSE
        SELECT max(position) INTO newest FROM keelson_events WHERE position > since;
    END IF;
    RETURN newest;
END
$$;

-- keelson_append writes all events or none, if the conditions hold.
--
--   locks    keys, ascending: 2 * hash, and 1 more if exclusive
--   known    look for the ids first
--   every    report every condition that fails, not the first alone
--   conds    {"k": "v", "s": stream, "n": version}, "e" Exists, "t" Track
--            (s: source), "n" NoneSince (n: after, q: items); null for none
--   written  the distinct streams that are written
--   ids ...  one element per event. owner: which of `written`, 0 for none;
--            nth: 1, 2, 3 ... within that; the bytes of its data in `payload`
--            begin after `starts` and are `lengths` many
--
-- The arguments are text, which every driver can send, and are cast here. The
-- verdict is "written", with a position per event and the version that each
-- stream had; "known": some of the ids are; "conflict", with pairs of the
-- condition's index and the version or position found; or "isolation". Except
-- for "written" nothing was, and the transaction goes on.
CREATE FUNCTION keelson_append(
    locks text, known boolean, every boolean, conds text, written text,
    ids text, owner text, nth text, types text, schemas text, tags text, metas text,
    starts text, lengths text, payload bytea,
    OUT verdict text, OUT positions text, OUT versions text, OUT failed text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    space bigint;
    all_ids text[];
    all_tags text[];
    names text[];
    cond jsonb;
    index integer := 0;
    found bigint;
    tracks boolean := false;
    failures bigint[] := '{}';
    drawn bigint[];
    bases bigint[];
    newest timestamptz;
BEGIN
    -- An older snapshot would not see what was committed while we waited for
    -- the locks. Nothing else can be relied on then.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        verdict := 'isolation';
        RETURN;
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    -- All keys at one point and in one order, before anything is looked at or
    -- drawn: appends that could conflict pass here one by one, so that the
    -- statements below see what the one before has committed.
    space := keelson_space(1);
    -- (| and >> have one precedence.)
    PERFORM CASE WHEN k & 1 = 1 THEN pg_advisory_xact_lock(space | (k >> 1))
        ELSE pg_advisory_xact_lock_shared(space | (k >> 1)) END
        FROM unnest(locks::bigint[]) AS k;

    all_ids := ids::text[];
    IF known AND EXISTS (SELECT FROM keelson_events e WHERE e.id = ANY (all_ids)) THEN
        verdict := 'known';
        RETURN;
    END IF;

    IF conds IS NOT NULL THEN
        FOR cond IN SELECT jsonb_array_elements(conds::jsonb) LOOP
            found := NULL;
            CASE cond ->> 'k'
            WHEN 'v', 'e' THEN
                SELECT e.version INTO found FROM keelson_events e WHERE e.stream = cond ->> 's'
                    ORDER BY e.stream DESC, e.version DESC LIMIT 1;
                found := coalesce(found, 0);
                IF cond ->> 'k' = 'v' AND found = (cond ->> 'n')::bigint OR cond ->> 'k' = 'e' AND found > 0 THEN
                    found := NULL; -- it holds
                END IF;
            WHEN 'n' THEN
                SELECT max(keelson_newest(item, (cond ->> 'n')::bigint)) INTO found
                    FROM jsonb_array_elements(cond -> 'q') AS item;
            WHEN 't' THEN
                tracks := true;
                SELECT c.position INTO found FROM keelson_checkpoints c
                    WHERE c.name = 'track/' || (cond ->> 's') AND c.position >= (cond ->> 'n')::bigint;
                IF (cond ->> 'n')::bigint = 0 THEN
                    found := coalesce(found, 0); -- nothing is beyond nothing
                END IF;
            END CASE;
            IF found IS NOT NULL THEN
                failures := failures || ARRAY[index, found];
                EXIT WHEN NOT every;
            END IF;
            index := index + 1;
        END LOOP;
        IF cardinality(failures) > 0 THEN
            verdict := 'conflict';
            failed := array_to_string(failures, ' ');
            RETURN;
        END IF;
        IF tracks THEN
            INSERT INTO keelson_checkpoints AS c (name, position, epoch)
                SELECT 'track/' || (t ->> 's'), (t ->> 'n')::bigint, 0
                FROM jsonb_array_elements(conds::jsonb) AS t WHERE t ->> 'k' = 't'
                ON CONFLICT (name) DO UPDATE SET position = excluded.position;
        END IF;
    END IF;

    verdict := 'written';
    IF cardinality(all_ids) = 0 THEN
        RETURN;
    END IF;

    names := written::text[];
    SELECT array_agg(coalesce(l.version, 0) ORDER BY s.n), max(l.at) INTO bases, newest
        FROM unnest(names) WITH ORDINALITY AS s (name, n)
        LEFT JOIN LATERAL (SELECT e.version, e.at FROM keelson_events e WHERE e.stream = s.name
            ORDER BY e.stream DESC, e.version DESC LIMIT 1) l ON true;
    newest := greatest(clock_timestamp(), newest); -- clocks step back

    PERFORM pg_advisory_xact_lock_shared(keelson_space(0) | keelson_last()); -- the floor, see keelson_head
    drawn := ARRAY(SELECT nextval('keelson_position') FROM generate_series(1, cardinality(all_ids)));

    INSERT INTO keelson_events (position, id, stream, version, type, schema, tags, meta, data, at)
        SELECT drawn[e.n], e.id, coalesce(names[e.owner], ''), bases[e.owner] + e.nth, e.type, e.schema,
            e.tags::jsonb, e.meta::jsonb,
            CASE WHEN e.length > 0 THEN substring(payload FROM e.start + 1 FOR e.length) END, newest
        FROM unnest(all_ids, owner::integer[], nth::integer[], types::text[], schemas::bigint[], tags::text[],
            metas::text[], starts::integer[], lengths::integer[])
            WITH ORDINALITY AS e (id, owner, nth, type, schema, tags, meta, start, length, n);
    all_tags := tags::text[];
    IF array_to_string(all_tags, '') <> '' THEN
        INSERT INTO keelson_tags (tag, position)
            SELECT jsonb_array_elements_text(t.tags::jsonb), drawn[t.n]
            FROM unnest(all_tags) WITH ORDINALITY AS t (tags, n) WHERE t.tags IS NOT NULL;
    END IF;
    positions := array_to_string(drawn, ' ');
    versions := array_to_string(bases, ' ');
END
$$;
