package eventsql

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Read implements [eventsource.Store]. It fetches a page at a time, of some
// megabytes at most, and holds neither a connection nor a snapshot while it
// yields: the loop may take as long as it likes.
func (s *Store) Read(ctx context.Context, q eventsource.Query, o eventsource.ReadOptions) iter.Seq2[eventsource.Recorded, error] {
	return func(yield func(eventsource.Recorded, error) bool) {
		rd := &reader{s: s, ctx: ctx, q: q, yield: yield, left: o.Limit, limited: o.Limit > 0, span: span{
			after: uint64(o.After), upTo: uint64(o.UpTo), afterVersion: o.AfterVersion, upToVersion: o.UpToVersion,
			asOf: o.AsOf, backward: o.Backward,
		}}
		err := q.Validate()
		if err == nil {
			err = o.Validate()
		}
		if err == nil {
			err = s.ready(ctx)
		}
		if err == nil && len(q) > 0 && o.After <= 1<<63-1 {
			err = rd.run()
		}
		if err != nil {
			yield(eventsource.Recorded{}, ended(ctx, err))
		}
	}
}

// reader is one loop over the log.
type reader struct {
	s       *Store
	ctx     context.Context
	q       eventsource.Query
	span    span // what is left to read
	left    int  // events, if limited
	limited bool
	yield   func(eventsource.Recorded, error) bool
	stopped bool // the loop was left
	budget  pageSize
}

// run shows the log as of one instant before the first event is yielded,
// although it takes several statements.
//
// A single one has a snapshot, so that a short result is that. On SQLite the
// order of commits is that of positions: the last one bounds the rest. On
// Postgres an event can still appear below others, hence what is not final yet
// is listed by one statement and read by that list; what is at or below Head
// does not change.
func (rd *reader) run() error {
	known := rd.s.seen.Load() // all at or below is final
	n := rd.budget.next(rd.left)
	page, err := rd.page(n)
	if err != nil {
		return err
	}
	if len(page) < n || rd.limited && len(page) >= rd.left {
		rd.deliver(page)
		return nil
	}
	final := rd.span.upTo > 0 && rd.span.upTo <= known
	if rd.s.dialect == sqldb.Postgres && !final {
		return rd.strictly(page, known)
	}
	if !final && !rd.span.backward {
		head, err := rd.s.head(rd.ctx, rd.s.db)
		if err != nil {
			return err
		}
		rd.span.upTo = lower(rd.span.upTo, uint64(head))
	}
	if !rd.deliver(page) {
		return nil
	}
	return rd.pages()
}

// strictly reads a log that changes meanwhile. The first page counts if it is
// of the part that had been final before it was read.
func (rd *reader) strictly(page []eventsource.Recorded, known uint64) error {
	h, err := rd.s.head(rd.ctx, rd.s.db)
	if err != nil {
		return err
	}
	head := uint64(h)
	bound := lower(rd.span.upTo, head)
	var late []uint64 // positions above head
	if rd.span.upTo == 0 || rd.span.upTo > head {
		above := rd.span
		above.after = max(above.after, head)
		if late, err = rd.list(above); err != nil {
			return err
		}
	}
	settled := func() error {
		if head == 0 { // nothing is, and 0 would be no bound
			return nil
		}
		rd.span.upTo = bound
		return rd.pages()
	}
	if rd.span.backward {
		if err := rd.at(late); err != nil || rd.stopped {
			return err
		}
		return settled()
	}
	if highest(page) <= known && !rd.deliver(page) {
		return nil
	}
	if err := settled(); err != nil || rd.stopped {
		return err
	}
	return rd.at(late)
}

// pages reads all within the span.
func (rd *reader) pages() error {
	for rd.span.upTo == 0 || rd.span.after < rd.span.upTo {
		n := rd.budget.next(rd.left)
		page, err := rd.page(n)
		if err != nil {
			return err
		}
		if !rd.deliver(page) || len(page) < n {
			return nil
		}
	}
	return nil
}

// at reads the events at these positions.
func (rd *reader) at(positions []uint64) error {
	for len(positions) > 0 {
		n := min(rd.budget.next(rd.left), len(positions))
		page, err := rd.query(rd.s.selectAt(columns, positions[:n], rd.span.backward))
		if err != nil {
			return err
		}
		if !rd.deliver(page) {
			return nil
		}
		positions = positions[n:]
	}
	return nil
}

// deliver yields a page and moves on behind it. It reports false if that was
// the last to yield.
func (rd *reader) deliver(page []eventsource.Recorded) bool {
	if rd.limited {
		page = page[:min(len(page), rd.left)]
		rd.left -= len(page)
	}
	for _, r := range page {
		if !rd.yield(r, nil) {
			rd.stopped = true
			return false
		}
	}
	if rd.limited && rd.left == 0 {
		rd.stopped = true
		return false
	}
	if len(page) > 0 {
		last := uint64(page[len(page)-1].Position)
		if rd.span.backward {
			rd.span.upTo = last - 1
			if last == 1 { // 0 would be no bound
				rd.stopped = true
				return false
			}
		} else {
			rd.span.after = max(rd.span.after, last)
		}
	}
	return true
}

func (rd *reader) page(n int) ([]eventsource.Recorded, error) {
	p := rd.span
	p.limit = n
	page, err := rd.query(rd.s.selectEvents(rd.q, columns, p))
	rd.budget.learn(page)
	return page, err
}

func (rd *reader) list(p span) (positions []uint64, err error) {
	if rd.limited {
		p.limit = rd.left
	}
	b := rd.s.selectEvents(rd.q, "e.position", p)
	rows, err := rd.s.db.QueryContext(rd.ctx, b.String(), b.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var position uint64
		if err := rows.Scan(&position); err != nil {
			return nil, err
		}
		positions = append(positions, position)
	}
	return positions, rows.Err()
}

const columns = "e.position, e.id, e.stream, e.version, e.type, e.schema, e.tags, e.meta, e.data, e.at"

func (rd *reader) query(b *builder) (page []eventsource.Recorded, err error) {
	rows, err := rd.s.db.QueryContext(rd.ctx, b.String(), b.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := rd.s.scanEvent(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

func (s *Store) scanEvent(rows *sql.Rows) (r eventsource.Recorded, err error) {
	var version, micros sql.NullInt64
	var tags, meta sql.NullString
	at := any(&r.Time)
	if s.dialect == sqldb.SQLite {
		at = &micros
	}
	err = rows.Scan(&r.Position, &r.ID, &r.Stream, &version, &r.Type, &r.Schema, &tags, &meta, &r.Data, at)
	if err != nil {
		return r, err
	}
	r.Version = uint64(version.Int64)
	if s.dialect == sqldb.SQLite {
		r.Time = time.UnixMicro(micros.Int64)
	}
	r.Time = r.Time.UTC()
	if tags.Valid {
		err = json.Unmarshal([]byte(tags.String), &r.Tags)
	}
	if meta.Valid && err == nil {
		err = json.Unmarshal([]byte(meta.String), &r.Meta)
	}
	if err != nil {
		return r, fmt.Errorf("%w: event %d: %w", eventsource.ErrCorrupt, r.Position, err)
	}
	return r, nil
}

// pageSize keeps a page at some megabytes, whatever events weigh. Sizes are
// few, since each is a statement that servers and drivers prepare.
type pageSize struct {
	events, bytes int // seen so far
}

const (
	firstPage = 256
	maxPage   = 1024
	pageBytes = 4 << 20
)

// next is how many events to ask for, given that at most left are wanted; 0 is
// all.
func (p pageSize) next(left int) int {
	n := firstPage
	switch {
	case p.events > 0:
		budget := min(maxPage, pageBytes/(1+p.bytes/p.events))
		for n = 1; 4*n <= budget; {
			n *= 4 // 1, 4, 16, 64, 256, 1024
		}
	case left > 0:
		n = maxPage
	}
	if left > 0 {
		n = min(n, left)
	}
	return n
}

func (p *pageSize) learn(page []eventsource.Recorded) {
	p.events += len(page)
	for i := range page {
		p.bytes += len(page[i].Data) + 100
	}
}

func highest(page []eventsource.Recorded) uint64 {
	if len(page) == 0 {
		return 0
	}
	return uint64(max(page[0].Position, page[len(page)-1].Position))
}

// lower is the lower of two bounds of which the first may be 0 for none. The
// second is not: nothing is below it.
func lower(bound, other uint64) uint64 {
	if bound == 0 {
		return other
	}
	return min(bound, other)
}
