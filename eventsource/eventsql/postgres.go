package eventsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
)

// querier is a *sql.DB, *sql.Conn or *sql.Tx.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// verdict is what became of a request in a transaction that has not ended yet.
type verdict struct {
	kind      verdictKind
	positions []uint64  // of the rows, if written
	versions  []uint64  // of the streams, before, if written
	failed    []failure // the conditions that do not hold, if conflict
}

type verdictKind uint8

const (
	isWritten   verdictKind = iota + 1
	isKnown                 // some of the ids: see duplicate.go
	isConflict              // nothing is written
	isIsolation             // the transaction's level is not READ COMMITTED
)

var verdictKinds = map[string]verdictKind{
	"written": isWritten, "known": isKnown, "conflict": isConflict, "isolation": isIsolation,
}

type failure struct {
	index int    // of the condition
	found uint64 // the version or position that is in its way
}

// callAppend is one call of keelson_append: one round trip, and one transaction
// unless q is in one. every asks for all conditions that fail.
func (s *Store) callAppend(ctx context.Context, q querier, r *request, keys []key, every bool) (v verdict, err error) {
	var conds any
	if len(r.conds) > 0 {
		if conds, err = encodeConditions(r.conds); err != nil {
			return v, err
		}
	}
	n := len(r.rows)
	text := func(at func(x *row) string) string {
		return textArray(n, func(i int) (string, bool) { t := at(&r.rows[i]); return t, t != "" })
	}
	number := func(at func(x *row) int) string {
		return intArray(n, func(i int) uint64 { return uint64(at(&r.rows[i])) })
	}
	start := 0
	starts := number(func(x *row) int { at := start; start += len(x.data); return at })
	row := q.QueryRowContext(ctx, s.sql.append,
		intArray(len(keys), func(i int) uint64 { return uint64(keys[i]) }), r.check, every, conds,
		textArray(len(r.streams), func(i int) (string, bool) { return r.streams[i], true }),
		text(func(x *row) string { return x.id }),
		number(func(x *row) int { return x.owner }), number(func(x *row) int { return x.nth }),
		text(func(x *row) string { return x.typ }), number(func(x *row) int { return x.schema }),
		text(func(x *row) string { return x.tagsJSON }), text(func(x *row) string { return x.metaJSON }),
		starts, number(func(x *row) int { return len(x.data) }), r.payload())
	var kind string
	var positions, versions, failed sql.NullString
	if err := row.Scan(&kind, &positions, &versions, &failed); err != nil {
		return v, err
	}
	v, err = decodeVerdict(kind, positions.String, versions.String, failed.String)
	if err == nil && v.kind == isWritten && n > 0 && (len(v.positions) != n || len(v.versions) != len(r.streams)) {
		err = errors.New("the database returned fewer positions than events; are its functions of another version?")
	}
	return v, err
}

func decodeVerdict(kind, positions, versions, failed string) (v verdict, err error) {
	v.kind = verdictKinds[kind]
	if v.kind == 0 {
		return v, fmt.Errorf("%w: the verdict is %q", eventsource.ErrCorrupt, kind)
	}
	if v.positions, err = numbers(positions); err != nil {
		return v, err
	}
	if v.versions, err = numbers(versions); err != nil {
		return v, err
	}
	pairs, err := numbers(failed)
	for i := 0; i+1 < len(pairs); i += 2 {
		v.failed = append(v.failed, failure{int(pairs[i]), pairs[i+1]})
	}
	return v, err
}
