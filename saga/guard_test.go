package saga_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// fitful is a store that has fits: the first calls of some methods do not return.
type fitful struct {
	*saga.Memory
	fit func()

	mu   sync.Mutex
	left map[string]int // fits to come, by method
}

func (f *fitful) call(method string) {
	f.mu.Lock()
	fits := f.left[method] > 0
	if fits {
		f.left[method]--
	}
	f.mu.Unlock()
	if fits {
		f.fit()
	}
}

func (f *fitful) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.left {
		if n > 0 {
			return false
		}
	}
	return true
}

func (f *fitful) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	v, err := f.Memory.Commit(ctx, writes)
	if len(writes) > 0 && writes[0].Summary.Epoch > 0 {
		f.call("Commit") // of a worker, when it is done
	}
	return v, err
}

func (f *fitful) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	f.call("Poll")
	return f.Memory.Poll(ctx, l)
}

func (f *fitful) Load(ctx context.Context, id string) (saga.Summary, []saga.Record, []saga.Record, error) {
	if id == "parent" { // which nobody but Serve loads
		f.call("Load")
	}
	return f.Memory.Load(ctx, id)
}

func (f *fitful) Post(ctx context.Context, id string, r saga.Record) error {
	f.call("Post")
	return f.Memory.Post(ctx, id, r)
}

func (f *fitful) List(ctx context.Context, filter saga.Filter) iter.Seq2[saga.Summary, error] {
	f.call("List")
	return f.Memory.List(ctx, filter)
}

func (f *fitful) Purge(ctx context.Context, olderThan time.Duration, limit int) (int, error) {
	f.call("Purge")
	return f.Memory.Purge(ctx, olderThan, limit)
}

// T29: a store that panics or ends the goroutine, in whatever method a coordinator calls
// by itself, costs a repeat, and neither the process nor a saga that nobody runs.
func TestFitsOfAStoreCostARepeat(t *testing.T) {
	for name, fit := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		for _, method := range []string{"Commit", "Poll", "Load", "Post", "List", "Purge"} {
			t.Run(name+" in "+method, func(t *testing.T) {
				inBubble(t, func(t *testing.T) { survive(t, method, fit, name == "panic") })
			})
		}
	}
}

func survive(t *testing.T, method string, fit func(), logs bool) {
	w := &world{}
	store := &fitful{Memory: saga.NewMemory(), fit: fit, left: map[string]int{}}
	var log lines
	b := serve(t, store, saga.Config{Keep: 40 * time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	synctest.Wait() // it serves
	family := func(c *saga.Coordinator) *saga.Saga[state] {
		child := register(t, c, saga.Definition[state]{Name: "child", Steps: []saga.Step[state]{w.step("pay", nil)}})
		slow := saga.Step[state]{Name: "slow", Do: func(context.Context, *state) error { time.Sleep(3 * time.Second); return nil }}
		return register(t, c, saga.Definition[state]{Name: "parent", Steps: []saga.Step[state]{
			w.step("reserve", nil), saga.Sub("child", child, func(s *state) state { return *s }, func(*state, state) {}), slow,
		}})
	}
	elsewhere, err := saga.New(store.Memory, saga.Config{})
	require.NoError(t, err)
	outside, inside := family(elsewhere), family(b.c)
	store.mu.Lock()
	store.left[method] = 2
	store.mu.Unlock()
	require.NoError(t, outside.Start(t.Context(), "parent", state{})) // to be claimed and loaded
	_, err = inside.Run(t.Context(), "parent-2", state{})             // and one that begins here
	require.NoError(t, err)
	ended := func(id string) bool {
		_, s, err := outside.Get(t.Context(), id)
		return err == nil && s.State == saga.Completed || errors.Is(err, saga.ErrNotFound)
	}
	for began := time.Now(); !store.over() || !ended("parent") || !ended("parent-2"); time.Sleep(time.Second) {
		if time.Since(began) > 2*time.Hour {
			t.Fatalf("left: %v, ended: %v %v\n%s", store.left, ended("parent"), ended("parent-2"), log.String())
		}
	}
	synctest.Wait() // what has ended is let go
	assert.Equal(t, 2, w.count("reserve"))
	assert.Equal(t, 0, b.c.Stats().Running)
	assert.Equal(t, logs, strings.Contains(log.String(), "(*fitful)."+method), "the stack of a panic is logged: "+log.String())
	if method != "Post" { // whose errors cost a parent a look, no more
		assert.True(t, strings.Contains(log.String(), " of *saga_test.fitful "), "it is told of: "+log.String())
	}
}

// lines is a buffer that many may write to.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
