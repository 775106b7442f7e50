package sagasql

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/internal/sqldb"
)

// Config is the same for [Setup] and [Open]. The zero value is good.
type Config struct {
	// Prefix begins the names of tables, types and functions; lower-case letters, digits and
	// underscores, at most 24. Zero means "keelson_".
	Prefix string

	// Relaxed accepts SQLite connections with synchronous=NORMAL and Postgres
	// sessions with synchronous_commit=off: a commit then survives the process, not
	// the machine. Zero means that every commit waits for the disk.
	Relaxed bool
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
	return sqldb.Schema{Part: "sagasql", Prefix: cfg.Prefix, Scripts: []string{script}}
}

// Setup creates the tables, or migrates them, in one transaction under a lock. It
// is idempotent: call it at every start, or run it apart from the program with a
// role that may create tables, types and functions. The statements are in
// schema_postgres.sql and schema_sqlite.sql of this package.
func Setup(ctx context.Context, db *sql.DB, cfg Config) error {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		cfg.Prefix, err = sqldb.Prefix(cfg.Prefix)
	}
	if err == nil {
		err = cfg.schema(d).Setup(ctx, db, d)
	}
	if err != nil {
		return fmt.Errorf("sagasql: setup: %w", err)
	}
	return nil
}

// Store is a [saga.Store] in a database. It also has Purge and Durability. It is
// safe for concurrent use, has no goroutine, and needs no Close. Make it with
// [Open].
type Store struct {
	db      *sql.DB
	dialect sqldb.Dialect
	cfg     Config
	batch   string // batchStatement, with the prefix
}

// Open returns a Store on the tables that [Setup] has made. It asks the server what
// it is and refuses all but Postgres 13+ and SQLite 3.35+, also those that speak
// the protocol of Postgres; a hot standby; settings under which a commit does not
// wait for the disk, unless cfg.Relaxed; tables that need Setup; and a role of Postgres
// that may not call the function of a commit. The Store never closes db. Give it its own
// pool.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Store, error) {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		cfg.Prefix, err = sqldb.Prefix(cfg.Prefix)
	}
	if err == nil {
		err = cfg.schema(d).Check(ctx, db)
	}
	if err == nil {
		err = checkDatabase(ctx, db, d, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("sagasql: open: %w", err)
	}
	return &Store{db: db, dialect: d, cfg: cfg, batch: strings.ReplaceAll(batchStatement, sqldb.DefaultPrefix, cfg.Prefix)}, nil
}

// checkDatabase refuses settings under which a commit could not keep its word.
func checkDatabase(ctx context.Context, db *sql.DB, d sqldb.Dialect, cfg Config) error {
	if d == sqldb.Postgres {
		var encoding, sync string
		err := db.QueryRowContext(ctx, "SELECT current_setting('server_encoding'), current_setting('synchronous_commit')").Scan(&encoding, &sync)
		switch {
		case err != nil:
			return err
		case encoding != "UTF8":
			return fmt.Errorf("the database's encoding is %s; UTF8 is needed", encoding)
		case sync == "off" && !cfg.Relaxed:
			return errors.New("synchronous_commit is off; set it to on, or Config.Relaxed")
		}
		return mayCommit(ctx, db, cfg.Prefix+"saga_commit")
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

// mayCommit refuses a role that may not call the function of a commit, and a function
// with other parameters, of another version: each commit would fail, and be repeated.
func mayCommit(ctx context.Context, db *sql.DB, function string) error {
	var may bool
	err := db.QueryRowContext(ctx, "SELECT coalesce(bool_or(has_function_privilege(oid, 'EXECUTE')), false)"+
		" FROM pg_proc WHERE proname = $1 AND pronargs = $2 AND pg_function_is_visible(oid)", function, batchParams).Scan(&may)
	if err == nil && !may {
		err = fmt.Errorf("the function %s with %d parameters is not there, which another version may have made, or this role has no EXECUTE on it: grant it", function, batchParams)
	}
	return err
}

// Durability returns "fsync", or "relaxed" with Config.Relaxed.
func (s *Store) Durability() string {
	if s.cfg.Relaxed {
		return "relaxed"
	}
	return "fsync"
}

// conn is a transaction, of the store's or of a caller's. Each parameter of a
// statement occurs in order of its number, so that drivers which count them by
// appearance (mattn's) agree with those that read it.
type conn struct {
	s *Store
	q interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
	now  int64  // the store's clock
	live string // an owner that lives, as this transaction has seen

	// Statements of this transaction, by their text, where the driver keeps none:
	// SQLite's compile each anew, which takes longer than to run it.
	prepared map[string]*sql.Stmt

	// These run without the end of their context, which is looked at before each: a
	// driver that can interrupt a statement has a goroutine beside each, and so has
	// database/sql beside rows.
	detached context.Context
}

// sql puts prefix and placeholders in place; those without a number, $?, count on. Of what stands between [ and ], only
// Postgres gets to see anything: its rows are locked one by one.
func (c *conn) sql(query string) string {
	query = strings.ReplaceAll(query, sqldb.DefaultPrefix, c.s.cfg.Prefix)
	for n := 1; strings.Contains(query, "$?"); n++ {
		query = strings.Replace(query, "$?", "$"+strconv.Itoa(n), 1)
	}
	if c.s.dialect == sqldb.Postgres {
		return strings.NewReplacer("[", "", "]", "").Replace(query)
	}
	for {
		before, rest, found := strings.Cut(query, "[")
		if !found {
			return strings.ReplaceAll(query, "$", "?") // modernc binds ?N by number, and $N by name
		}
		_, after, _ := strings.Cut(rest, "]")
		query = before + after
	}
}

func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var res sql.Result
	var err error
	if stmt := c.prepare(ctx, query); stmt != nil {
		res, err = stmt.ExecContext(c.detached, args...)
	} else {
		res, err = c.q.ExecContext(ctx, c.sql(query), args...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (c *conn) row(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := c.prepare(ctx, query); stmt != nil {
		return stmt.QueryRowContext(c.detached, args...)
	}
	return c.q.QueryRowContext(ctx, c.sql(query), args...)
}

// prepare returns the query compiled; nil where none is kept, or it does not compile, or
// ctx has ended, which running it will tell.
func (c *conn) prepare(ctx context.Context, query string) *sql.Stmt {
	if c.prepared == nil || ctx.Err() != nil {
		return nil
	}
	stmt := c.prepared[query]
	if stmt == nil {
		var err error
		if stmt, err = c.q.PrepareContext(ctx, c.sql(query)); err != nil {
			return nil
		}
		c.prepared[query] = stmt
	}
	return stmt
}

// close gives the statements back.
func (c *conn) close() {
	for _, stmt := range c.prepared {
		stmt.Close() //nolint:errcheck // the transaction has told
	}
}

// among is a condition: the column is among the strings in a JSON array, the parameter
// $n. Postgres looks up each of them in the column's index; of a subquery it would join,
// and read a table whole that was small when it made its plan.
func (c *conn) among(column string, n int) string {
	if c.s.dialect == sqldb.Postgres {
		return fmt.Sprintf("%s = ANY (ARRAY%s)", column, c.list(n))
	}
	return column + " IN " + c.list(n)
}

// list is a subquery of the strings in a JSON array, the parameter $n.
func (c *conn) list(n int) string {
	if c.s.dialect == sqldb.Postgres {
		return fmt.Sprintf("(SELECT json_array_elements_text($%d::json))", n)
	}
	return fmt.Sprintf("(SELECT value FROM json_each($%d))", n)
}

// tick reads the store's clock: the server's, or the host's for a database that
// has none.
func (c *conn) tick(ctx context.Context) error {
	if c.s.dialect == sqldb.SQLite {
		c.now = time.Now().UnixMicro()
		return nil
	}
	return c.q.QueryRowContext(ctx, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").Scan(&c.now)
}

// begin is tick in a transaction of the store's own. It keeps the server from plans that
// read tables whole: a session keeps what it has made while they were small. What is left
// of these, as of the few owners, is a cost of 10^10 to the server, for which it would
// compile the statement, in some 50 ms each time. And a process
// that stands still in the middle, as in a machine that is suspended, loses its locks after
// 5 seconds: with them nobody could take over what it holds.
func (c *conn) begin(ctx context.Context) error {
	if c.s.dialect == sqldb.SQLite {
		return c.tick(ctx)
	}
	var set string
	return c.q.QueryRowContext(ctx, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, "+
		"set_config('enable_seqscan', 'off', true) || set_config('jit', 'off', true) || set_config('idle_in_transaction_session_timeout', '5000', true)").Scan(&c.now, &set)
}

// timeOf is the time of microseconds.
func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// ended returns err, with the cause in it if it is ctx that has ended.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
