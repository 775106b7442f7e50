package eventfile

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/wal"
)

// Append implements [eventsource.Store]. It is one record, so the append is
// there whole or not at all, also after a crash. Appends that come while the
// disk syncs share the next fsync. Alone, an append takes the time of an fsync;
// beside it about 2 us and 2 allocations.
//
// After a failed write or fsync the log takes no appends: the one that was
// being written is [eventsource.ErrUncertain], those that rest on it were not
// written, nor is anything from then on ([eventsource.ErrClosed], with the
// cause). Reading goes on. Close it and Open it anew.
func (l *Log) Append(ctx context.Context, events []eventsource.Event, conds ...eventsource.Condition) (eventsource.Result, error) {
	if err := l.usable(ctx); err != nil {
		return eventsource.Result{}, err
	}
	if err := eventsource.Validate(events, conds...); err != nil {
		return eventsource.Result{}, err
	}
	d := l.drafts.Get().(*draft)
	defer l.release(d)
	d.encode(events, conds, l.hash)
	if err := l.wal.Reserve(ctx, len(d.buf)); err != nil {
		return eventsource.Result{}, translate(err)
	}
	v, err := l.decide(d, events, conds)
	if !v.written {
		l.wal.Release(len(d.buf))
	}
	if err != nil {
		return eventsource.Result{}, err
	}
	return v.settle(ctx)
}

// release keeps the memory of a draft, unless it is huge.
func (l *Log) release(d *draft) {
	if cap(d.buf) <= 1<<20 {
		clear(d.ids)
		l.drafts.Put(d)
	}
}

// verdict is the outcome of an append, once what it rests on is durable.
type verdict struct {
	result  eventsource.Result
	err     error // a conflict, or ids that do not fit
	written bool  // a record was enqueued: the ticket is its own
	ticket  wal.Ticket
}

// settle waits until the verdict holds for ever.
func (v verdict) settle(ctx context.Context) (eventsource.Result, error) {
	err := v.ticket.Wait(ctx)
	switch {
	case err == nil:
		return v.result, v.err
	case v.written:
		return eventsource.Result{}, translate(err)
	case ctx.Err() != nil:
		return eventsource.Result{}, context.Cause(ctx) // nothing was handed over
	default:
		return eventsource.Result{}, fmt.Errorf("%w: an append that this one rests on was not made durable: %w", eventsource.ErrClosed, err)
	}
}

// decide comes to a verdict. Known ids are compared with their records outside
// the lock, since that may read the disk; only if some were appended since, it
// begins anew.
func (l *Log) decide(d *draft, events []eventsource.Event, conds []eventsource.Condition) (verdict, error) {
	for {
		seen := l.last.Load()
		known, err := l.repeat(d, events, seen)
		if err != nil && !errors.Is(err, eventsource.ErrInvalid) {
			return verdict{}, translate(err)
		}
		l.mu.Lock()
		if l.newer(d, seen) {
			l.mu.Unlock()
			continue
		}
		v := l.judge(d, events, conds, known, err)
		l.mu.Unlock()
		return v, nil
	}
}

// judge is what happens under the lock.
func (l *Log) judge(d *draft, events []eventsource.Event, conds []eventsource.Condition, known eventsource.Result, misfit error) verdict {
	if misfit != nil {
		return l.resting(verdict{err: misfit}, uint32(known.Last))
	}
	if known.Duplicate {
		return l.resting(verdict{result: known}, uint32(known.Last))
	}
	for i := range conds {
		if v, failed := l.check(i, conds[i]); failed {
			return v
		}
	}
	last := l.last.Load()
	if uint64(last)+uint64(len(events)) > maxEvents {
		return verdict{err: fmt.Errorf("%w: append: %d events after %d, a log holds less than 2^32", eventsource.ErrInvalid, len(events), last)}
	}
	v := verdict{result: eventsource.Result{First: eventsource.Position(last), Last: eventsource.Position(last)}}
	if len(events) == 0 && !tracks(conds) {
		return l.restingOn(v, len(l.pending)-1)
	}
	return l.write(v, d, events, conds, last)
}

func tracks(conds []eventsource.Condition) bool {
	for i := range conds {
		if _, _, ok := conds[i].Track(); ok {
			return true
		}
	}
	return false
}

// check comes to a verdict if conds[i] fails.
func (l *Log) check(i int, c eventsource.Condition) (v verdict, failed bool) {
	fail := &eventsource.ConflictError{Condition: c, Index: i}
	if stream, want, ok := c.Version(); ok {
		if fail.Version = l.index.Version(stream); fail.Version == want {
			return v, false
		}
		return l.conflict(fail, l.newest(stream)), true
	}
	if stream, ok := c.Exists(); ok {
		return l.conflict(fail, 0), l.index.Version(stream) == 0
	}
	if source, p, ok := c.Track(); ok {
		old := l.tracked[source]
		if fail.Position = old.position; old.position < p {
			return v, false
		}
		at := sort.Search(len(l.pending), func(i int) bool { return l.pending[i].ticket.LSN >= old.lsn })
		return l.restingOn(verdict{err: fail}, at), true
	}
	q, after, _ := c.NoneSince()
	last := l.last.Load()
	if after >= eventsource.Position(last) {
		return v, false
	}
	for _, it := range q {
		fail.Position = max(fail.Position, eventsource.Position(l.index.Newest(it, uint32(after), last)))
	}
	return l.conflict(fail, uint32(fail.Position)), fail.Position > 0
}

// newest is the position of a stream's last event, 0 if it has none.
func (l *Log) newest(stream string) uint32 {
	if list := l.index.Streams.Find(stream); list != nil {
		return list.Last()
	}
	return 0
}

func (l *Log) conflict(fail *eventsource.ConflictError, restsOn uint32) verdict {
	return l.resting(verdict{err: fail}, restsOn)
}

// resting makes v wait for the event at pos, if that is not yet durable.
func (l *Log) resting(v verdict, pos uint32) verdict {
	if pos <= l.head.Load() {
		return v
	}
	return l.restingOn(v, sort.Search(len(l.pending), func(i int) bool { return l.pending[i].last >= pos }))
}

func (l *Log) restingOn(v verdict, at int) verdict {
	if at >= 0 && at < len(l.pending) {
		v.ticket = l.pending[at].ticket
	}
	return v
}

// write gives the events their numbers and hands them to the log.
func (l *Log) write(v verdict, d *draft, events []eventsource.Event, conds []eventsource.Condition, last uint32) verdict {
	l.micros = max(l.micros, l.set.now().UnixMicro())
	d.place(last+1, l.micros)
	for i := range events {
		version := l.add(last+1+uint32(i), events[i].Stream, events[i].Type, events[i].Tags)
		d.setVersion(i, version)
		v.result.Version = uint64(version)
	}
	v.ticket = l.wal.Enqueue(d.buf)
	v.written = true
	for i := range events {
		l.place(last+1+uint32(i), v.ticket.Ref)
	}
	for _, known := range d.ids {
		l.addID(known.hash, last+1+uint32(known.event))
	}
	for i := range conds {
		if source, p, ok := conds[i].Track(); ok {
			l.tracked[source] = tracked{p, v.ticket.LSN}
		}
	}
	last += uint32(len(events))
	l.pending = append(l.pending, pending{v.ticket, last})
	l.last.Store(last)
	if len(events) > 0 {
		v.result.First, v.result.Last = v.result.First+1, eventsource.Position(last)
	}
	return v
}
