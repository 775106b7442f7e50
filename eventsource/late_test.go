package eventsource_test

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

// lateStore is a store whose appends can draw their positions now and commit
// later, as transactions of a database do. It is a slice and linear scans, and
// knows no ids. Streams are not locked: hold only what has none.
type lateStore struct {
	mu      sync.Mutex
	rows    []lateRow // by position, from 1
	changed chan struct{}
}

type lateRow struct {
	eventsource.Recorded
	committed, dead bool
}

func newLateStore() *lateStore { return &lateStore{changed: make(chan struct{})} }

// hold draws positions for events; end(true) commits them, end(false) rolls
// them back, which leaves holes.
func (s *lateStore) hold(events ...eventsource.Event) (end func(commit bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.insert(events)
	return func(commit bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(from, to, commit)
	}
}

func (s *lateStore) insert(events []eventsource.Event) (from, to int) {
	from = len(s.rows)
	for _, e := range events {
		s.rows = append(s.rows, lateRow{Recorded: eventsource.Recorded{
			Event: e, Position: eventsource.Position(len(s.rows) + 1), Version: s.version(e.Stream) + 1,
		}})
	}
	return from, len(s.rows)
}

func (s *lateStore) end(from, to int, commit bool) {
	for i := from; i < to; i++ {
		s.rows[i].committed, s.rows[i].dead = commit, !commit
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *lateStore) version(stream string) (v uint64) {
	for _, r := range s.rows {
		if stream != "" && r.Stream == stream && !r.dead {
			v = r.Version
		}
	}
	return v
}

func (s *lateStore) Append(ctx context.Context, events []eventsource.Event, conds ...eventsource.Condition) (eventsource.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range conds {
		if q, after, ok := c.NoneSince(); ok {
			// The locks of a database: whoever may write a match is waited for.
			for slices.ContainsFunc(s.rows, func(r lateRow) bool { return !r.committed && !r.dead && q.Match(r.Event) }) {
				changed := s.changed
				s.mu.Unlock()
				<-changed
				s.mu.Lock()
			}
			for _, r := range slices.Backward(s.rows) {
				if r.committed && r.Position > after && q.Match(r.Event) {
					return eventsource.Result{}, &eventsource.ConflictError{Condition: c, Index: i, Position: r.Position}
				}
			}
		}
		if stream, v, ok := c.Version(); ok && s.version(stream) != v {
			return eventsource.Result{}, &eventsource.ConflictError{Condition: c, Index: i, Version: s.version(stream)}
		}
	}
	from, to := s.insert(events)
	s.end(from, to, true)
	return eventsource.Result{First: eventsource.Position(from + 1), Last: eventsource.Position(to)}, nil
}

func (s *lateStore) Read(_ context.Context, q eventsource.Query, o eventsource.ReadOptions) iter.Seq2[eventsource.Recorded, error] {
	return func(yield func(eventsource.Recorded, error) bool) {
		s.mu.Lock()
		rows := slices.Clone(s.rows)
		s.mu.Unlock()
		n := 0
		for _, r := range rows {
			if !r.committed || !q.Match(r.Event) || r.Position <= o.After || o.UpTo > 0 && r.Position > o.UpTo {
				continue
			}
			if n++; !yield(r.Recorded, nil) || n == o.Limit {
				return
			}
		}
	}
}

func (s *lateStore) Head(context.Context) (eventsource.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head(), nil
}

func (s *lateStore) head() eventsource.Position {
	if i := slices.IndexFunc(s.rows, func(r lateRow) bool { return !r.committed && !r.dead }); i >= 0 {
		return eventsource.Position(i)
	}
	return eventsource.Position(len(s.rows))
}

func (s *lateStore) Wait(ctx context.Context, after eventsource.Position) error {
	for {
		s.mu.Lock()
		head, changed := s.head(), s.changed
		s.mu.Unlock()
		if head > after {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
