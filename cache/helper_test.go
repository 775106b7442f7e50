package cache_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/require"
)

// source is what loaders ask. It counts, fails and hangs on command.
type source struct {
	mu     sync.Mutex
	values map[string]string
	err    error
	gate   chan struct{} // loads wait for it, after they have read
	delay  time.Duration
	loads  atomic.Int64
}

func newSource(pairs ...string) *source {
	s := &source{values: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		s.values[pairs[i]] = pairs[i+1]
	}
	return s
}

func (s *source) put(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
}

func (s *source) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// block makes the loads that begin from now on wait until the returned function is
// called.
func (s *source) block() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate = gate
	return func() {
		s.mu.Lock()
		if s.gate == gate {
			s.gate = nil
		}
		s.mu.Unlock()
		close(gate)
	}
}

func (s *source) load(ctx context.Context, key string) (string, error) {
	s.loads.Add(1)
	s.mu.Lock()
	value, ok := s.values[key]
	err, gate, delay := s.err, s.gate, s.delay
	s.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("source: %q: %w", key, cache.ErrNotFound)
	}
	return value, nil
}

type config = cache.Config[string, string]

type store = cache.Cache[string, string]

// open makes a cache that is closed at the end.
func open(t *testing.T, c config) *store {
	t.Helper()
	s, err := cache.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// node makes a cache on a new link of the cluster, and waits until it is linked.
func node(t *testing.T, cluster *cachetest.Cluster, c config) (*store, *cachetest.Node) {
	t.Helper()
	n := cluster.Node()
	c.Remote, c.Bus = n, n
	s := open(t, c)
	synctest.Wait()
	return s, n
}

// bubble runs f on fake time.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// get reads a key, which must be there.
func get(t *testing.T, c *store, key string) string {
	t.Helper()
	v, err := c.Get(t.Context(), key)
	require.NoError(t, err)
	return v
}

// outcome is what a call on another goroutine returned.
type outcome struct {
	value string
	err   error
	took  time.Duration
}

// async calls Get on another goroutine.
func async(ctx context.Context, c *store, key string) <-chan outcome {
	done := make(chan outcome, 1)
	begun := time.Now()
	go func() {
		v, err := c.Get(ctx, key)
		done <- outcome{v, err, time.Since(begun)}
	}()
	return done
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []cache.Event
}

func (r *recorder) on(e cache.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// of returns the events of some kinds. An event may come just after the call that it
// is about has returned, so it waits until all is still.
func (r *recorder) of(kinds ...cache.EventKind) (events []cache.Event) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if slices.Contains(kinds, e.Kind) {
			events = append(events, e)
		}
	}
	return events
}
