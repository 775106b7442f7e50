//go:build cgo

package saga_test

import (
	"testing"

	_ "github.com/mattn/go-sqlite3" // registers the driver "sqlite3"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
	"github.com/keelson-go/keelson/saga/sagatest"
)

// T38: mattn's driver binds parameters by order of appearance, opens connections
// with synchronous=NORMAL, and here does not wait for others by itself.
func TestMattnConforms(t *testing.T) {
	sagatest.TestStore(t, func(t *testing.T) saga.Store {
		return openSQL(t, openDB(t, "sqlite3", "file:"+t.TempDir()+"/sagas.db?_journal_mode=WAL&_busy_timeout=0"), sagasql.Config{})
	})
}
