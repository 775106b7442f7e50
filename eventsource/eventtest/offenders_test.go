package eventtest_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

type (
	ctx   = context.Context
	event = eventsource.Event
	cond  = eventsource.Condition
	query = eventsource.Query
	opts  = eventsource.ReadOptions
	rec   = eventsource.Recorded
	pos   = eventsource.Position
	mem   = *eventsource.Memory
	seq   = iter.Seq2[rec, error]
)

// broken is a Memory one of whose methods has a mistake.
type broken struct {
	*eventsource.Memory
	append func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error)
	read   func(m mem, c ctx, q query, o opts) seq
	head   func(m mem, c ctx) (pos, error)
	wait   func(m mem, c ctx, after pos) error
}

func (b *broken) Append(c ctx, events []event, conds ...cond) (eventsource.Result, error) {
	if b.append == nil {
		return b.Memory.Append(c, events, conds...)
	}
	return b.append(b.Memory, c, events, conds)
}

func (b *broken) Read(c ctx, q query, o opts) seq {
	if b.read == nil {
		return b.Memory.Read(c, q, o)
	}
	return b.read(b.Memory, c, q, o)
}

func (b *broken) Head(c ctx) (pos, error) {
	if b.head == nil {
		return b.Memory.Head(c)
	}
	return b.head(b.Memory, c)
}

func (b *broken) Wait(c ctx, after pos) error {
	if b.wait == nil {
		return b.Memory.Wait(c, after)
	}
	return b.wait(b.Memory, c, after)
}

// appends makes a store with a mistake in Append.
func appends(f func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error)) func() eventsource.Store {
	return func() eventsource.Store { return &broken{Memory: eventsource.NewMemory(), append: f} }
}

// changes makes a store that appends something else.
func changes(f func(e *event)) func() eventsource.Store {
	return appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		events = slices.Clone(events)
		for i := range events {
			f(&events[i])
		}
		return m.Append(c, events, conds...)
	})
}

// conditions makes a store that checks something else.
func conditions(f func(c cond) cond) func() eventsource.Store {
	return appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		conds = slices.Clone(conds)
		for i := range conds {
			conds[i] = f(conds[i])
		}
		return m.Append(c, events, conds...)
	})
}

// reads makes a store with a mistake in Read.
func reads(f func(m mem, c ctx, q query, o opts) seq) func() eventsource.Store {
	return func() eventsource.Store { return &broken{Memory: eventsource.NewMemory(), read: f} }
}

// returns makes a store that reads something else; false leaves it out.
func returns(f func(i int, r *rec) bool) func() eventsource.Store {
	return reads(func(m mem, c ctx, q query, o opts) seq {
		return func(yield func(rec, error) bool) {
			i := 0
			for r, err := range m.Read(c, q, o) {
				if err != nil || f(i, &r) {
					if !yield(r, err) {
						return
					}
				}
				i++
			}
		}
	})
}

// asks makes a store that reads under other options.
func asks(f func(q *query, o *opts)) func() eventsource.Store {
	return reads(func(m mem, c ctx, q query, o opts) seq {
		f(&q, &o)
		return m.Read(c, q, o)
	})
}

// racy looks first and appends afterwards, as one does without a transaction.
var racy = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	for i, cond := range conds {
		if source, p, ok := cond.Track(); ok {
			if at, _ := m.LoadCheckpoint(c, "track/"+source); at.Position >= p {
				return eventsource.Result{}, &eventsource.ConflictError{Condition: cond, Index: i, Position: at.Position}
			}
		} else if _, err := m.Append(c, nil, cond); err != nil {
			return eventsource.Result{}, err
		}
	}
	for range 10 {
		runtime.Gosched()
	}
	return m.Append(c, events)
})

// late hides what some appends wrote until two later ones have come, as if
// they were transactions that commit late; Head does not know.
func late() eventsource.Store {
	var mu sync.Mutex
	var hidden []eventsource.Result
	var n int
	s := &broken{Memory: eventsource.NewMemory()}
	s.append = func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		r, err := m.Append(c, events, conds...)
		if n++; n%3 == 0 {
			hidden = append(hidden, r)
		} else if n%3 == 2 && len(hidden) > 0 {
			hidden = hidden[1:]
		}
		return r, err
	}
	s.read = func(m mem, c ctx, q query, o opts) seq {
		return func(yield func(rec, error) bool) {
			mu.Lock()
			hidden := slices.Clone(hidden)
			mu.Unlock()
			for r, err := range m.Read(c, q, o) {
				if !slices.ContainsFunc(hidden, func(h eventsource.Result) bool { return h.First <= r.Position && r.Position <= h.Last }) && !yield(r, err) {
					return
				}
			}
		}
	}
	return s
}

// inTwo appends a batch in two halves.
var inTwo = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	if len(events) < 2 {
		return m.Append(c, events, conds...)
	}
	r, err := m.Append(c, events[:1], conds...)
	if err != nil {
		return r, err
	}
	for range 1000 { // long enough to be seen
		runtime.Gosched()
	}
	rest, err := m.Append(c, events[1:])
	rest.First = r.First
	return rest, err
})

// caching hands out the events that it has handed out before.
func caching() eventsource.Store {
	var cache sync.Map
	s := &broken{Memory: eventsource.NewMemory()}
	s.read = func(m mem, c ctx, q query, o opts) seq {
		return func(yield func(rec, error) bool) {
			for r, err := range m.Read(c, q, o) {
				kept, _ := cache.LoadOrStore(r.Position, r)
				if !yield(kept.(rec), err) {
					return
				}
			}
		}
	}
	return s
}

// withoutIndex ignores conditions on what the append does not write.
var onlyWritten = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	conds = slices.DeleteFunc(slices.Clone(conds), func(c cond) bool {
		stream, _, ok := c.Version()
		return ok && !slices.ContainsFunc(events, func(e event) bool { return e.Stream == stream })
	})
	if len(events)+len(conds) == 0 {
		h, err := m.Head(c)
		return eventsource.Result{First: h, Last: h}, err
	}
	return m.Append(c, events, conds...)
})

// mended appends again, differently, when Memory refuses.
func mended(f func(c *eventsource.ConflictError, events []event, conds []cond) ([]event, []cond)) func() eventsource.Store {
	return appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		r, err := m.Append(c, events, conds...)
		conflict, ok := errors.AsType[*eventsource.ConflictError](err)
		if !ok {
			return r, err
		}
		events, conds = f(conflict, events, conds)
		return m.Append(c, events, conds...)
	})
}

// backwards checks the conditions from the last to the first.
var backwards = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	conds = slices.Clone(conds)
	slices.Reverse(conds)
	r, err := m.Append(c, events, conds...)
	if conflict, ok := errors.AsType[*eventsource.ConflictError](err); ok {
		conflict.Index = len(conds) - 1 - conflict.Index
	}
	return r, err
})

// optimistic appends under the version that it has just read, as some do.
var optimistic = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	if len(conds) == 0 && len(events) > 0 && events[0].Stream != "" {
		version := uint64(0)
		for r := range m.Read(c, eventsource.Stream(events[0].Stream), opts{Backward: true, Limit: 1}) {
			version = r.Version
		}
		runtime.Gosched()
		conds = []cond{eventsource.AtVersion(events[0].Stream, version)}
	}
	return m.Append(c, events, conds...)
})

// conditionsFirst evaluates conditions before it looks at ids.
var conditionsFirst = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	if err := eventsource.Validate(events, conds...); err != nil {
		return eventsource.Result{}, err
	}
	for i := range conds {
		if _, _, tracks := conds[i].Track(); !tracks {
			if _, err := m.Append(c, nil, conds[i]); err != nil {
				return eventsource.Result{}, err
			}
		}
	}
	return m.Append(c, events, conds...)
})

// theRest writes the events of a batch that are new.
var theRest = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	r, err := m.Append(c, events, conds...)
	if !errors.Is(err, eventsource.ErrInvalid) {
		return r, err
	}
	return m.Append(c, slices.DeleteFunc(slices.Clone(events), func(e event) bool {
		for range m.Read(c, query{{IDs: []string{e.ID}}}, opts{}) {
			return true
		}
		return false
	}), conds...)
})

// noDuplicate treats a repeat as a conflict.
var noDuplicate = appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
	r, err := m.Append(c, events, conds...)
	if r.Duplicate {
		return r, &eventsource.ConflictError{Condition: eventsource.Exists(events[0].Stream)}
	}
	return r, err
})

// single can be ranged over once.
func single(m mem, c ctx, q query, o opts) seq {
	var used atomic.Bool
	all := m.Read(c, q, o)
	return func(yield func(rec, error) bool) {
		if used.CompareAndSwap(false, true) {
			all(yield)
		}
	}
}

// live shows what the loop appends.
func live(m mem, c ctx, q query, o opts) seq {
	return func(yield func(rec, error) bool) {
		for range 100 {
			n := 0
			for r, err := range m.Read(c, q, o) {
				if n++; !yield(r, err) {
					return
				}
				o.After = r.Position
			}
			if n == 0 {
				return
			}
		}
	}
}

func trimNUL(e *event) { e.Data = bytes.TrimRight(e.Data, "\x00") }
func cutText(e *event) { e.Type = strings.ToValidUTF8(e.Type[:min(255, len(e.Type))], "?") }
func lowerID(e *event) { e.ID = strings.ToLower(e.ID) }
func ownClock(r *rec) {
	r.Time = time.Now().Add(-time.Duration(r.Position) * time.Second).UTC().Truncate(time.Microsecond)
}
