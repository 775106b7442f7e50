//go:build cgo

package eventsql

import (
	"database/sql"
	"testing"

	_ "github.com/mattn/go-sqlite3" // registers the driver "sqlite3"
)

func init() {
	backends = append(backends, backend{"sqlite-mattn", func(t *testing.T) func() *sql.DB {
		return sqlite(t, "sqlite3", "?_journal_mode=WAL&_busy_timeout=0")
	}})
}
