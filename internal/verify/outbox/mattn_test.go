//go:build cgo

package outbox

import (
	"testing"

	_ "github.com/mattn/go-sqlite3" // registers the driver "sqlite3"
)

func init() {
	backends = append(backends, backend{"sqlite-mattn", func(t *testing.T) (string, string) {
		return "sqlite3", "file:" + t.TempDir() + "/outbox.db?_journal_mode=WAL&_busy_timeout=0&_synchronous=FULL"
	}})
}
