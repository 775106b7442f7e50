package eventsql

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// sqliteTx appends within one transaction that holds, or is about to take, the
// write lock. There is no other writer, so that the last position and time are
// asked for once.
type sqliteTx struct {
	s *Store
	q querier
	// prepare is nil in a transaction of the caller's: what is prepared there
	// would live until its end.
	prepare  func(ctx context.Context, query string) (*sql.Stmt, error)
	prepared map[string]*sql.Stmt
	// verb begins an INSERT. Where an error undoes the whole transaction, it need
	// not undo the statement first: OR FAIL saves SQLite a copy of every page
	// that many rows touch, a seventh of the time.
	verb string

	begun    bool // position and time are those of the last event
	position uint64
	time     int64
	versions map[string]uint64 // of streams, as of here

	events, tags pending // written by this transaction, and not sent yet
}

// pending collects rows for one statement: calling the database costs more than
// a row.
type pending struct {
	rows int
	args []any
}

// maxPending rows of ten columns keep below the 999 parameters of older builds.
const maxPending = 64

func (s *Store) newSQLiteTx(q querier) *sqliteTx {
	return &sqliteTx{s: s, q: q, verb: "INSERT", versions: make(map[string]uint64)}
}

// append writes r, or says why not; flush must follow. It writes nothing before all conditions
// hold, so that a verdict other than isWritten leaves the transaction as it was.
func (t *sqliteTx) append(ctx context.Context, r *request) (v verdict, err error) {
	if r.check {
		known, err := t.anyKnown(ctx, r)
		if known || err != nil {
			return verdict{kind: isKnown}, err
		}
	}
	for i, c := range r.conds {
		found, failed, err := t.evaluate(ctx, c)
		if err != nil {
			return v, err
		}
		if failed {
			return verdict{kind: isConflict, failed: []failure{{i, found}}}, nil
		}
	}
	for _, c := range r.conds {
		if source, p, ok := c.Track(); ok {
			if err := t.exec(ctx, t.s.sql.track, "track/"+source, clamp(uint64(p))); err != nil {
				return v, err
			}
		}
	}
	return t.insert(ctx, r)
}

func (t *sqliteTx) insert(ctx context.Context, r *request) (v verdict, err error) {
	v.kind = isWritten
	if len(r.rows) == 0 {
		return v, nil
	}
	if err := t.begin(ctx); err != nil {
		return v, err
	}
	v.versions = make([]uint64, len(r.streams))
	for i, name := range r.streams {
		if v.versions[i], err = t.version(ctx, name); err != nil {
			return v, err
		}
	}
	t.time = max(t.time, time.Now().UnixMicro())
	v.positions = make([]uint64, len(r.rows))
	for i := range r.rows {
		t.position++
		v.positions[i] = t.position
		if err := t.insertRow(ctx, &r.rows[i], v.versions); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (t *sqliteTx) insertRow(ctx context.Context, x *row, versions []uint64) error {
	var version any
	if x.owner > 0 {
		n := versions[x.owner-1] + uint64(x.nth)
		version, t.versions[x.streamName] = int64(n), n
	}
	var data any
	if len(x.data) > 0 {
		data = x.data
	}
	t.events.add(int64(t.position), x.id, x.streamName, version, x.typ, int64(x.schema), orNull(x.tagsJSON), orNull(x.metaJSON), data, t.time)
	for _, tag := range x.tags {
		t.tags.add(tag, int64(t.position))
	}
	if t.events.rows < maxPending && t.tags.rows < maxPending {
		return nil
	}
	return t.flush(ctx)
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (p *pending) add(values ...any) {
	p.rows++
	p.args = append(p.args, values...)
}

// flush sends what is pending.
func (t *sqliteTx) flush(ctx context.Context) error {
	for _, p := range []struct {
		*pending
		insert, row string
	}{{&t.events, t.s.sql.insert, "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"}, {&t.tags, t.s.sql.tag, "(?, ?)"}} {
		for p.rows > 0 {
			n := min(p.rows, maxPending)
			args := len(p.args) / p.rows * n
			query := t.verb + p.insert + strings.Repeat(p.row+", ", n-1) + p.row
			if err := t.exec(ctx, query, p.args[:args]...); err != nil {
				return err
			}
			p.rows, p.args = p.rows-n, p.args[args:]
		}
	}
	return nil
}

// version returns the version of a stream, pending rows included.
func (t *sqliteTx) version(ctx context.Context, stream string) (uint64, error) {
	if n, ok := t.versions[stream]; ok {
		return n, nil
	}
	n, err := t.number(ctx, t.s.sql.version, stream)
	if err == nil {
		t.versions[stream] = n
	}
	return n, err
}

// learn asks for the versions of many streams at once.
func (t *sqliteTx) learn(ctx context.Context, streams []string) error {
	for chunk := range slices.Chunk(streams, 10*maxPending) {
		args := make([]any, len(chunk))
		for i, name := range chunk {
			args[i] = name
			t.versions[name] = 0
		}
		rows, err := t.q.QueryContext(ctx, "WITH s (name) AS (VALUES (?)"+strings.Repeat(", (?)", len(chunk)-1)+") "+t.s.sql.versions, args...)
		if err != nil {
			return err
		}
		err = eachVersion(rows, t.versions)
		if err != nil {
			return err
		}
	}
	return nil
}

func eachVersion(rows *sql.Rows, into map[string]uint64) error {
	defer rows.Close()
	for rows.Next() {
		var name string
		var version sql.NullInt64
		if err := rows.Scan(&name, &version); err != nil {
			return err
		}
		into[name] = uint64(version.Int64)
	}
	return rows.Err()
}

// begin reads the end of the log.
func (t *sqliteTx) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	row, err := t.row(ctx, t.s.sql.last)
	if err != nil {
		return err
	}
	if err := row.Scan(&t.position, &t.time); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	t.begun = true
	return nil
}

// evaluate returns what is in the way of c.
func (t *sqliteTx) evaluate(ctx context.Context, c eventsource.Condition) (found uint64, failed bool, err error) {
	if stream, want, ok := c.Version(); ok {
		found, err = t.version(ctx, stream)
		return found, found != want, err
	}
	if stream, ok := c.Exists(); ok {
		found, err = t.version(ctx, stream)
		return found, found == 0, err
	}
	if source, p, ok := c.Track(); ok {
		found, err = t.number(ctx, t.s.sql.tracked, "track/"+source)
		return found, uint64(p) <= found, err
	}
	q, after, _ := c.NoneSince()
	if len(q) == 0 {
		return 0, false, nil
	}
	if err := t.flush(ctx); err != nil {
		return 0, false, err
	}
	query, args := t.s.newest(q, after)
	err = t.q.QueryRowContext(ctx, query, args...).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return found, err == nil, err
}

func (t *sqliteTx) anyKnown(ctx context.Context, r *request) (bool, error) {
	if err := t.flush(ctx); err != nil {
		return false, err
	}
	for i := range r.rows {
		n, err := t.number(ctx, t.s.sql.known, r.rows[i].id)
		if n > 0 || err != nil {
			return n > 0, err
		}
	}
	return false, nil
}

// number runs a query of one number, 0 if there is no row.
func (t *sqliteTx) number(ctx context.Context, query, arg string) (n uint64, err error) {
	row, err := t.row(ctx, query, arg)
	if err != nil {
		return 0, err
	}
	err = row.Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

func (t *sqliteTx) row(ctx context.Context, query string, args ...any) (*sql.Row, error) {
	stmt, err := t.stmt(ctx, query)
	if err != nil || stmt == nil {
		return t.q.QueryRowContext(ctx, query, args...), err
	}
	return stmt.QueryRowContext(ctx, args...), nil
}

func (t *sqliteTx) exec(ctx context.Context, query string, args ...any) error {
	stmt, err := t.stmt(ctx, query)
	switch {
	case err != nil:
		return err
	case stmt == nil:
		_, err = t.q.ExecContext(ctx, query, args...)
	default:
		_, err = stmt.ExecContext(ctx, args...)
	}
	return err
}

func (t *sqliteTx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if t.prepare == nil {
		return nil, nil
	}
	if stmt := t.prepared[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := t.prepare(ctx, query)
	if err == nil {
		t.prepared[query] = stmt
	}
	return stmt, err
}

// writer takes a connection whose commits wait for the disk.
func (s *Store) writer(ctx context.Context) (conn *sql.Conn, release func(), err error) {
	return sqldb.Writer(ctx, s.db)
}

// immediate runs f in a transaction that begins as a writer. committing tells
// whether an error came from COMMIT.
func (s *Store) immediate(ctx context.Context, f func(conn *sql.Conn) error) (committing bool, err error) {
	return sqldb.Immediate(ctx, s.db, f)
}
