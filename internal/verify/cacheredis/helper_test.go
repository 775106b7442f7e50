package cacheredis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// seconds reads a duration of the long runs, as make soak-redis sets it.
func seconds(t *testing.T, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("KEELSON_SOAK_SECONDS")
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "KEELSON_SOAK_SECONDS")
	return time.Duration(n) * time.Second
}

// source is what the cache is in front of: a number per key that only rises.
type source struct {
	values []atomic.Int64
	loads  atomic.Int64
}

func newSource(keys int) *source { return &source{values: make([]atomic.Int64, keys)} }

func (s *source) load(_ context.Context, key int) (string, error) {
	s.loads.Add(1)
	return strconv.FormatInt(s.values[key].Load(), 10), nil
}

// node is one process's cache, with a client of its own.
func node(t *testing.T, client redis.UniversalClient, name string, c cache.Config[int, string]) *cache.Cache[int, string] {
	t.Helper()
	store, err := cacheredis.New(client, name, cacheredis.Config{})
	require.NoError(t, err)
	c.Remote, c.Bus = store, store
	n, err := cache.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func clientOf(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

// eventually polls, since a cache heals by itself and tells nobody.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			require.FailNow(t, "not within a minute: "+what)
		}
	}
}

// healed waits until a node has nothing left to make good.
func healed(t *testing.T, nodes ...*cache.Cache[int, string]) {
	t.Helper()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d heals", i), func() bool {
			s := n.Stats()
			return s.RemoteUp && s.Linked && s.Pending == 0
		})
	}
}

// equal checks that every key is on every node what it is in the source. Before
// that it sends one more message and waits for it: all others are applied, then.
func equal(t *testing.T, s *source, nodes ...*cache.Cache[int, string]) {
	t.Helper()
	healed(t, nodes...)
	marker := len(s.values) - 1
	for _, n := range nodes {
		_, err := n.Get(t.Context(), marker)
		require.NoError(t, err)
	}
	want := strconv.FormatInt(s.values[marker].Add(1), 10)
	require.NoError(t, nodes[0].Invalidate(t.Context(), marker))
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("the marker reaches node %d", i), func() bool {
			got, err := n.Get(t.Context(), marker)
			return err == nil && got == want
		})
	}
	stale := 0
	for i, n := range nodes {
		for key := range s.values {
			got, err := n.Get(t.Context(), key)
			require.NoError(t, err)
			if want := strconv.FormatInt(s.values[key].Load(), 10); got != want {
				stale++
				t.Errorf("key %d is %s on node %d, %s in the source", key, got, i, want)
			}
		}
	}
	require.Zero(t, stale)
}

// traffic reads and writes on all nodes until ctx ends, and checks of each read
// that it is no older than the last write that its node had acknowledged.
type traffic struct {
	source *source
	nodes  []*cache.Cache[int, string]
	acked  [][]atomic.Int64 // by node and key

	reads, failed, writes, pending, stale atomic.Int64

	mu   sync.Mutex
	took []time.Duration // of reads
}

func newTraffic(s *source, nodes ...*cache.Cache[int, string]) *traffic {
	tr := &traffic{source: s, nodes: nodes, acked: make([][]atomic.Int64, len(nodes))}
	for i := range nodes {
		tr.acked[i] = make([]atomic.Int64, len(s.values))
	}
	return tr
}

func (tr *traffic) read(ctx context.Context, node, key int) {
	floor := tr.acked[node][key].Load()
	begun := time.Now()
	text, err := tr.nodes[node].Get(ctx, key)
	took := time.Since(begun)
	if ctx.Err() != nil {
		return
	}
	tr.reads.Add(1)
	if err != nil {
		tr.failed.Add(1)
		return
	}
	if got, err := strconv.ParseInt(text, 10, 64); err != nil || got < floor {
		tr.stale.Add(1)
	}
	tr.mu.Lock()
	tr.took = append(tr.took, took)
	tr.mu.Unlock()
}

func (tr *traffic) write(ctx context.Context, node, key int) {
	v := tr.source.values[key].Add(1)
	err := tr.nodes[node].Invalidate(context.WithoutCancel(ctx), key)
	tr.writes.Add(1)
	if errors.Is(err, cache.ErrPending) {
		tr.pending.Add(1)
	}
	if err != nil {
		return
	}
	for old := tr.acked[node][key].Load(); old < v && !tr.acked[node][key].CompareAndSwap(old, v); old = tr.acked[node][key].Load() {
	}
}
