package outbox

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Config is the same for [Setup] and [Open]. The zero value is good.
type Config struct {
	// Prefix begins the names of tables; lower-case letters, digits and
	// underscores, at most 24. Zero means "keelson_".
	Prefix string

	// Poll is how long Relay waits between looks when there is nothing to send;
	// [Outbox.Wake] cuts it short. After a failure it is the first wait, doubling
	// to ten times itself. Zero means 100 ms.
	Poll time.Duration

	// Lease is after how long a silent relay loses its lanes to others, and what a
	// Publish of a batch may take, less a quarter. Zero means 10 s.
	Lease time.Duration

	// Keep is the age at which Relay deletes inbox rows. A duplicate that is older
	// runs again. Zero means 7 days, negative for ever.
	Keep time.Duration

	// Batch is the most messages of a claim, up to 10,000. Zero means 256.
	Batch int

	// MaxAttempts is how many failures park a message, see [Outbox.Relay]. Zero
	// means 10, negative never.
	MaxAttempts int

	// OnEvent is called after each claim, on Relay's goroutine, with no lock and
	// no lane held. Nil means that nobody is told, and saves a statement per claim.
	OnEvent func(Event)
}

// Event is what became of one claim.
type Event struct {
	Published int           // messages that the broker took
	Parked    int           // messages taken out of line
	Lag       time.Duration // age of the oldest message left, by the database's clock; zero if none is
	Err       error         // the first failure of the broker, or the database's
}

const maxBatch = 10_000

// checked returns cfg with its defaults in place.
func (cfg Config) checked() (Config, error) {
	prefix, err := sqldb.Prefix(cfg.Prefix)
	if err != nil {
		return cfg, fmt.Errorf("%w: Config.%w", messaging.ErrInvalid, err)
	}
	cfg.Prefix = prefix
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{{"Poll", &cfg.Poll, 100 * time.Millisecond}, {"Lease", &cfg.Lease, 10 * time.Second}} {
		if *d.value < 0 {
			return cfg, fmt.Errorf("%w: Config.%s is %v; it may not be negative", messaging.ErrInvalid, d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if cfg.Batch < 0 || cfg.Batch > maxBatch {
		return cfg, fmt.Errorf("%w: Config.Batch is %d; it may be 0 to %d", messaging.ErrInvalid, cfg.Batch, maxBatch)
	}
	if cfg.Batch == 0 {
		cfg.Batch = 256
	}
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = 10
	}
	if cfg.Keep == 0 {
		cfg.Keep = 7 * 24 * time.Hour
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
	return sqldb.Schema{Part: "outbox", Prefix: cfg.Prefix, Scripts: []string{script}}
}

// Setup creates the tables, or migrates them, in one transaction under a lock.
// It is idempotent: call it at every start, or run it apart from the program
// with a role that may create tables. The statements are in schema_postgres.sql
// and schema_sqlite.sql of this package.
func Setup(ctx context.Context, db *sql.DB, cfg Config) error {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		cfg, err = cfg.checked()
	}
	if err == nil {
		err = cfg.schema(d).Setup(ctx, db, d)
	}
	if err != nil {
		return fmt.Errorf("outbox: setup: %w", err)
	}
	return nil
}

// Outbox is an outbox and an inbox in one database. Any number of them, in any
// number of processes, may work on the same tables. It is safe for concurrent
// use, has no goroutines, and needs no Close. Make it with [Open].
type Outbox struct {
	db      *sql.DB
	dialect sqldb.Dialect
	cfg     Config
	sql     statements
	wake    chan struct{} // of capacity 1: look now
}

// Open returns an Outbox on the tables that [Setup] has made. It refuses
// databases other than Postgres 13+ and SQLite 3.35+, a hot standby, and tables
// that need Setup. It never closes db; a db with SetMaxOpenConns(1) works.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Outbox, error) {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		cfg, err = cfg.checked()
	}
	if err == nil {
		err = cfg.schema(d).Check(ctx, db)
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: open: %w", err)
	}
	return &Outbox{db: db, dialect: d, cfg: cfg, sql: newStatements(d, cfg), wake: make(chan struct{}, 1)}, nil
}

// ended returns err, with the cause in it if it is ctx that has ended: drivers
// return what they make of it.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
