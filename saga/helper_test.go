package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// state is the S of most tests.
type state struct {
	N     int               `json:"n,omitempty"`
	Trail []string          `json:"trail,omitempty"`
	Notes map[string]string `json:"notes,omitempty"`
}

// world is what the steps of a test work on: it outlives coordinators.
type world struct {
	mu    sync.Mutex
	calls []string // "pay", "pay#undo"
	keys  []string
}

func (w *world) note(ctx context.Context) saga.Call {
	c := saga.CallFrom(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	name := c.Step
	if c.Undo {
		name += "#undo"
	}
	w.calls = append(w.calls, name)
	w.keys = append(w.keys, c.Key())
	return c
}

func (w *world) trace() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.calls, " ")
}

func (w *world) count(call string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c == call {
			n++
		}
	}
	return n
}

// step notes its calls and does what fn says; nil succeeds.
func (w *world) step(name string, fn func(saga.Call) error) saga.Step[state] {
	run := func(ctx context.Context, s *state) error {
		c := w.note(ctx)
		if c.Undo {
			return nil
		}
		s.N++
		if fn == nil {
			return nil
		}
		return fn(c)
	}
	return saga.Step[state]{Name: name, Do: run, Undo: run}
}

var errBroken = errors.New("broken")

// fails returns the errors one after the other, then succeeds.
func fails(errs ...error) func(saga.Call) error {
	var mu sync.Mutex
	return func(saga.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}
}

func always(err error) func(saga.Call) error { return func(saga.Call) error { return err } }

// bench is a store with one serving coordinator.
type bench struct {
	*testing.T
	store saga.Store
	c     *saga.Coordinator
	stop  func()
}

// serve starts a coordinator that the test ends.
func serve(t *testing.T, store saga.Store, cfg saga.Config) *bench {
	t.Helper()
	c, err := saga.New(store, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b := &bench{T: t, store: store, c: c}
	go func() { done <- c.Serve(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

// within is a context that ends after d: what waits for ever in a bubble would turn
// its clock for ever.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// inBubble runs f in virtual time.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func register[S any](t *testing.T, c *saga.Coordinator, d saga.Definition[S]) *saga.Saga[S] {
	t.Helper()
	s, err := saga.Register(c, d)
	require.NoError(t, err)
	return s
}

// history is the log in short: "start done:reserve fail:pay".
func (b *bench) history(id string) string {
	b.Helper()
	var all []string
	for r, err := range b.c.History(b.Context(), id) {
		require.NoError(b.T, err)
		word := r.Kind
		if r.Step != "" {
			word += ":" + r.Step
		}
		all = append(all, word)
	}
	return strings.Join(all, " ")
}

func (b *bench) summary(id string) saga.Summary {
	b.Helper()
	for s, err := range b.c.List(b.Context(), saga.Filter{IDs: []string{id}}) {
		require.NoError(b.T, err)
		return s
	}
	b.Fatalf("no saga %s", id)
	return saga.Summary{}
}

func asError(t *testing.T, err error) *saga.Error {
	t.Helper()
	e, ok := errors.AsType[*saga.Error](err)
	require.True(t, ok, fmt.Sprintf("%v is no *saga.Error", err))
	return e
}

func sorted(words string) string {
	all := strings.Fields(words)
	slices.Sort(all)
	return strings.Join(all, " ")
}
