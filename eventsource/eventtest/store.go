package eventtest

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// patience is how long a test waits for what must happen, on real clocks: a
// store may be a server on a busy machine.
var patience = time.Minute

// storeTest is one behaviour, on a store of its own.
type storeTest struct {
	name string
	test func(s store)
}

var storeTests = [][]storeTest{appendTests, idTests, conditionTests, raceTests, readTests, waitTests, decideTests}

// TestStore runs the suite. open returns a store that is empty and shares
// nothing with the others; clean-up is up to t.Cleanup. A store may be used by
// many goroutines at a time.
func TestStore(t *testing.T, open func(t *testing.T) eventsource.Store) {
	t.Helper()
	for _, tests := range storeTests {
		for _, c := range tests {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				c.test(store{t, open(t), ctx})
			})
		}
	}
}

// store is a Store under test, with what the tests say often. Its methods that
// end the test must run on the test's goroutine.
type store struct {
	*testing.T
	eventsource.Store
	ctx context.Context
}

// append appends what must succeed.
func (s store) append(events []eventsource.Event, conds ...eventsource.Condition) eventsource.Result {
	s.Helper()
	r, err := s.Append(s.ctx, events, conds...)
	if err != nil {
		s.Fatalf("Append of %d events under %v: %v", len(events), conds, err)
	}
	return r
}

// fresh appends what must succeed and be no repeat.
func (s store) fresh(events []eventsource.Event, conds ...eventsource.Condition) eventsource.Result {
	s.Helper()
	r := s.append(events, conds...)
	if r.Duplicate {
		s.Fatalf("Append of %v is called a duplicate: %+v", events, r)
	}
	return r
}

// refuse appends what must fail with target, and checks that it wrote nothing.
func (s store) refuse(target error, events []eventsource.Event, conds ...eventsource.Condition) error {
	s.Helper()
	before := s.all()
	r, err := s.Append(s.ctx, events, conds...)
	if !is(err, target) {
		s.Fatalf("Append of %.200s under %.200s is %+v, %v; want %v", text(events), text(conds), r, err, target)
	}
	if after := s.all(); len(after) != len(before) {
		s.Fatalf("an append that was refused with %v wrote %+v", err, after[len(before):])
	}
	return err
}

// conflict is refuse for a condition, whose error it returns.
func (s store) conflict(events []eventsource.Event, conds ...eventsource.Condition) *eventsource.ConflictError {
	s.Helper()
	return s.conflictOf(s.refuse(eventsource.ErrConflict, events, conds...))
}

// read collects what must not fail.
func (s store) read(q eventsource.Query, o eventsource.ReadOptions) (all []eventsource.Recorded) {
	s.Helper()
	for r, err := range s.Read(s.ctx, q, o) {
		if err != nil {
			s.Fatalf("Read of %+v with %+v: %v", q, o, err)
		}
		all = append(all, r)
	}
	return all
}

func (s store) all() []eventsource.Recorded {
	s.Helper()
	return s.read(eventsource.All(), eventsource.ReadOptions{})
}

func (s store) stream(name string) []eventsource.Recorded {
	s.Helper()
	return s.read(eventsource.Stream(name), eventsource.ReadOptions{})
}

func (s store) head() eventsource.Position {
	s.Helper()
	h, err := s.Head(s.ctx)
	if err != nil {
		s.Fatalf("Head: %v", err)
	}
	return h
}
