package eventsql

import (
	"strings"

	"github.com/keelson-go/keelson/internal/sqldb"
)

// statements are the fixed ones, with prefix and placeholders in place. Each
// parameter occurs once and in order, so that drivers which number them by
// appearance (mattn's) agree with those that read the number.
type statements struct {
	append, head, load, insertCheckpoint, updateCheckpoint, deleteCheckpoint string

	// SQLite alone; insert and tag lack their verb
	last, version, versions, tracked, known, insert, tag, track string
}

func newStatements(d sqldb.Dialect, prefix string) statements {
	st := statements{
		load:             "SELECT position, epoch, data FROM keelson_checkpoints WHERE name = $1",
		insertCheckpoint: "INSERT INTO keelson_checkpoints (name, position, epoch, data) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
		updateCheckpoint: "UPDATE keelson_checkpoints SET position = $1, epoch = $2, data = $3 WHERE name = $4 AND position = $5 AND epoch = $6",
		deleteCheckpoint: "DELETE FROM keelson_checkpoints WHERE name = $1 AND position = $2 AND epoch = $3",
	}
	if d == sqldb.Postgres {
		st.append = "SELECT verdict, positions, versions, failed FROM keelson_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
		st.head = "SELECT keelson_head()"
	} else {
		st.head = "SELECT coalesce(max(position), 0) FROM keelson_events"
		st.last = "SELECT position, at FROM keelson_events ORDER BY position DESC LIMIT 1"
		st.version = "SELECT version FROM keelson_events WHERE stream = ?1 ORDER BY version DESC LIMIT 1"
		st.versions = "SELECT name, (SELECT version FROM keelson_events WHERE stream = s.name ORDER BY version DESC LIMIT 1) FROM s"
		st.tracked = "SELECT position FROM keelson_checkpoints WHERE name = ?1"
		st.known = "SELECT position FROM keelson_events WHERE id = ?1"
		st.insert = " INTO keelson_events (position, id, stream, version, type, schema, tags, meta, data, at) VALUES "
		st.tag = " INTO keelson_tags (tag, position) VALUES "
		st.track = "INSERT INTO keelson_checkpoints (name, position, epoch) VALUES (?1, ?2, 0) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
	}
	for _, s := range []*string{
		&st.append, &st.head, &st.load, &st.insertCheckpoint, &st.updateCheckpoint, &st.deleteCheckpoint,
		&st.last, &st.version, &st.versions, &st.tracked, &st.known, &st.insert, &st.tag, &st.track,
	} {
		*s = strings.ReplaceAll(*s, sqldb.DefaultPrefix, prefix)
		if d == sqldb.SQLite {
			*s = strings.ReplaceAll(*s, "$", "?") // modernc binds ?N by number, and $N by name
		}
	}
	return st
}
