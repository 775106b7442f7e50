package outbox

import (
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/internal/sqldb"
)

// lanes is into how many parts the messages are divided for relays to share. It
// is in every row that was ever put, and never changes.
const lanes = 16

// share is the most lanes of a claim: half of them, so that a second relay finds
// work while the first publishes.
const share = lanes / 2

// statements are the texts for one database. A parameter is numbered in the order
// of its first use, since drivers of SQLite bind in that order.
type statements struct {
	insert, row  string // of the outbox; a row for each message
	claim        string
	pick, except string // the messages of a claim; the condition that leaves chains out
	settle       string // Postgres: release and delete at once
	held         string // the lanes that a claim still has
	release      string
	remove       string
	fail         string
	park         string
	oldest       string
	pending      string // SQLite: is there anything
	parked       string
	unpark       string
	unparked     string
	enter        string // the inbox
	sweep        string
}

// newStatements fills in what differs: the clock, the way to pass a list, and
// how a commit is made to wait for the disk.
func newStatements(d sqldb.Dialect, cfg Config) statements {
	replace := func(text string) string {
		pairs := []string{
			"{list}", "IN (SELECT value FROM json_each($1))", "{list2}", "IN (SELECT value FROM json_each($2))",
			"{texts}", "(SELECT value FROM json_each($2))", "{locked}", "", "{strict}", "{now}",
			"{now}", "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)",
		}
		if d == sqldb.Postgres {
			pairs = []string{
				"{list}", "= ANY ($1::bigint[])", "{list2}", "= ANY ($2::bigint[])",
				"{texts}", "(SELECT jsonb_array_elements_text($2::jsonb))", "{locked}", "FOR UPDATE",
				// A message that is published, or acknowledged, must not be forgotten by
				// a crash of the server; sessions may have synchronous_commit off.
				"{strict}", "CASE WHEN current_setting('synchronous_commit') IN ('on', 'remote_apply')" +
					" OR set_config('synchronous_commit', 'on', true) IS NOT NULL THEN {now} END",
				"{now}", "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
			}
		}
		for i := 0; i < len(pairs); i += 2 {
			text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
		}
		return strings.ReplaceAll(text, sqldb.DefaultPrefix, cfg.Prefix)
	}
	s := texts
	if d == sqldb.Postgres {
		s.claim, s.unpark = postgresClaim, postgresUnpark
	}
	for _, text := range []*string{
		&s.insert, &s.row, &s.claim, &s.pick, &s.except, &s.settle, &s.held, &s.release, &s.remove, &s.fail,
		&s.park, &s.oldest, &s.pending, &s.parked, &s.unpark, &s.unparked, &s.enter, &s.sweep,
	} {
		*text = replace(*text)
	}
	return s
}

// A claim need not survive a crash of the server: without one of the two fsyncs
// of a batch. The first row of a lane is asked for by the index, whatever the
// planner believes about a table that is full now and empty then.
var postgresClaim = `UPDATE keelson_outbox_lanes AS l SET claim = $1, until = {now} + $2
	FROM (SELECT f.lane FROM keelson_outbox_lanes AS f
		WHERE (f.until <= {now} OR f.claim = $3) AND (SELECT o.seq FROM keelson_outbox AS o WHERE o.lane = f.lane ORDER BY o.seq LIMIT 1) IS NOT NULL
		ORDER BY f.until LIMIT ` + strconv.Itoa(share) + ` FOR UPDATE OF f SKIP LOCKED) AS free,
		(SELECT set_config('synchronous_commit', 'off', true)) AS quick
	WHERE l.lane = free.lane RETURNING l.lane`

const postgresUnpark = `WITH back AS (DELETE FROM keelson_outbox_parked WHERE $1 OR id IN {texts}
		RETURNING seq, lane, id, topic, key, headers, body, at)
	INSERT INTO keelson_outbox (seq, lane, id, topic, key, headers, body, at) SELECT * FROM back`

var texts = statements{
	insert: "INSERT INTO keelson_outbox (lane, id, topic, key, headers, body, at) VALUES ",
	row:    "{strict}",
	claim: `UPDATE keelson_outbox_lanes SET claim = $1, until = {now} + $2
		WHERE lane IN (SELECT f.lane FROM keelson_outbox_lanes AS f
			WHERE (f.until <= {now} OR f.claim = $3) AND EXISTS (SELECT 1 FROM keelson_outbox AS o WHERE o.lane = f.lane)
			ORDER BY f.until LIMIT ` + strconv.Itoa(share) + `) RETURNING lane`,
	pick:   "SELECT seq, lane, id, topic, key, headers, body, attempts, due > {now} FROM keelson_outbox WHERE lane {list}",
	except: " AND COALESCE(NULLIF(key, ''), id) NOT IN {texts}",
	settle: `WITH mine AS (UPDATE keelson_outbox_lanes SET claim = '', until = {now} WHERE claim = $1 RETURNING lane)
		DELETE FROM keelson_outbox AS o USING mine WHERE o.seq {list2} AND o.lane = mine.lane`,
	held:    "SELECT lane FROM keelson_outbox_lanes WHERE claim = $1 {locked}",
	release: "UPDATE keelson_outbox_lanes SET claim = '', until = {now} WHERE claim = $1",
	remove:  "DELETE FROM keelson_outbox WHERE seq {list}",
	fail:    "UPDATE keelson_outbox SET attempts = $1, due = {now} + $2 WHERE seq = $3",
	park: `INSERT INTO keelson_outbox_parked (seq, lane, id, topic, key, headers, body, at, attempts, error, since)
		SELECT seq, lane, id, topic, key, headers, body, at, CAST($1 AS integer), CAST($2 AS text), {now} FROM keelson_outbox WHERE seq = $3`,
	oldest:  "SELECT {now} - at FROM keelson_outbox ORDER BY seq LIMIT 1",
	pending: "SELECT EXISTS (SELECT 1 FROM keelson_outbox)",
	parked:  "SELECT id, topic, key, headers, body, attempts, error, since FROM keelson_outbox_parked ORDER BY since, seq",
	unpark: `INSERT INTO keelson_outbox (seq, lane, id, topic, key, headers, body, at)
		SELECT seq, lane, id, topic, key, headers, body, at FROM keelson_outbox_parked WHERE $1 OR id IN {texts}`,
	unparked: "DELETE FROM keelson_outbox_parked WHERE $1 OR id IN {texts}",
	enter:    "INSERT INTO keelson_inbox (grp, id, at) VALUES ($1, $2, {strict}) ON CONFLICT (grp, id) DO NOTHING",
	sweep:    "DELETE FROM keelson_inbox WHERE (grp, id) IN (SELECT grp, id FROM keelson_inbox WHERE at < {now} - $1 ORDER BY at LIMIT 1000)",
}
