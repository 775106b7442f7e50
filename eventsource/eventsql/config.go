package eventsql

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Config is the same for [Setup] and [Open]. The zero value is good.
type Config struct {
	// Prefix begins the names of tables and functions; lower-case letters,
	// digits and underscores, at most 24. Stores with different prefixes share
	// a database without sharing anything else. Zero means "keelson_".
	Prefix string
	// Poll is the longest pause between looks at the head while somebody waits.
	// Right after an event it looks every 2 ms. Zero means 100 ms.
	Poll time.Duration
	// GroupCommit is how many appends may share a transaction and its fsync.
	// More than 1 queues the appends of this Store and commits what has queued
	// up during the commit before: high throughput from one process. Zero means
	// 1 on Postgres, which groups the commits of its sessions by itself, and 256
	// on SQLite.
	GroupCommit int
}

// maxGroup keeps the locks of one transaction far below what a Postgres server
// has room for by default, which is 6,400 for all.
const maxGroup = 1024

// checked returns cfg with its defaults for a database in place.
func (cfg Config) checked(d sqldb.Dialect) (Config, error) {
	prefix, err := sqldb.Prefix(cfg.Prefix)
	if err != nil {
		return cfg, fmt.Errorf("%w: Config.%w", eventsource.ErrInvalid, err)
	}
	cfg.Prefix = prefix
	if cfg.Poll < 0 {
		return cfg, fmt.Errorf("%w: Config.Poll is %v; it may not be negative", eventsource.ErrInvalid, cfg.Poll)
	}
	if cfg.GroupCommit < 0 || cfg.GroupCommit > maxGroup {
		return cfg, fmt.Errorf("%w: Config.GroupCommit is %d; it may be 0 to %d", eventsource.ErrInvalid, cfg.GroupCommit, maxGroup)
	}
	if cfg.Poll == 0 {
		cfg.Poll = 100 * time.Millisecond
	}
	if cfg.GroupCommit == 0 {
		cfg.GroupCommit = 1
		if d == sqldb.SQLite {
			cfg.GroupCommit = 256
		}
	}
	return cfg, nil
}

//go:embed schema_postgres.sql
var postgresSchema string

//go:embed schema_sqlite.sql
var sqliteSchema string

func (cfg Config) schema(d sqldb.Dialect) sqldb.Schema {
	script := postgresSchema
	if d == sqldb.SQLite {
		script = sqliteSchema
	}
	return sqldb.Schema{Part: "eventsql", Prefix: cfg.Prefix, Scripts: []string{script}}
}

// Setup creates the tables and functions, or migrates them, in one transaction
// under a lock. It is idempotent: call it at every start, or run it apart from
// the program with a role that may create tables. The statements are in
// schema_postgres.sql and schema_sqlite.sql of this package.
func Setup(ctx context.Context, db *sql.DB, cfg Config) error {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		cfg, err = cfg.checked(d)
	}
	if err == nil {
		err = cfg.schema(d).Setup(ctx, db, d)
	}
	if err != nil {
		return fmt.Errorf("eventsql: setup: %w", err)
	}
	return nil
}

// Open returns a Store on the tables that [Setup] has made. It refuses
// databases other than Postgres 13+ and SQLite 3.35+, also those that speak the
// protocol of Postgres; a hot standby; a Postgres database in another encoding
// than UTF8; an SQLite file without a rollback journal; and tables that need
// Setup.
//
// Some connections of db are used while calls run, none while nobody calls or
// waits. The Store never closes db. A *sql.DB with SetMaxOpenConns(1) works,
// except for reads of the Store within a transaction of one's own.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Store, error) {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		cfg, err = cfg.checked(d)
	}
	if err == nil {
		err = cfg.schema(d).Check(ctx, db)
	}
	if err == nil {
		err = checkDatabase(ctx, db, d)
	}
	if err != nil {
		return nil, fmt.Errorf("eventsql: open: %w", err)
	}
	return newStore(db, d, cfg, sqldb.HashMask(ctx)), nil
}

// checkDatabase refuses settings under which an append could not keep its word.
func checkDatabase(ctx context.Context, db *sql.DB, d sqldb.Dialect) error {
	if d == sqldb.Postgres {
		var encoding string
		if err := db.QueryRowContext(ctx, "SELECT current_setting('server_encoding')").Scan(&encoding); err != nil {
			return err
		}
		if encoding != "UTF8" {
			return fmt.Errorf("the database's encoding is %s; UTF8 is needed", encoding)
		}
		return nil
	}
	var journal, file string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return err
	}
	err := db.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file)
	if err == nil && file != "" && (journal == "off" || journal == "memory") {
		err = errors.New("journal_mode is " + journal + ", so a crash would leave half a transaction; wal is good")
	}
	return err
}
