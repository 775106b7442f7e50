package breaker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
)

// retained returns the bytes per item that f leaves on the heap in what it
// returns, for n items.
func retained(n int, f func() any) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
}

// A breaker per key must be affordable for 1e5 keys: what striping and slow
// calls need is made when they come, not before.
func TestFootprintOfManyKeyedBreakers(t *testing.T) {
	const n = 100_000
	single := retained(n, func() any {
		bs := make([]*breaker.Breaker, n)
		for i := range bs {
			bs[i] = breaker.New(breaker.Config{Name: "users"})
		}
		return bs
	}) - 8 // the slice
	keyed := retained(n, func() any {
		g := &group{MaxKeys: n, New: func(string) *breaker.Breaker { return breaker.New(breaker.Config{Name: "users"}) }}
		for i := range n {
			g.Get(fmt.Sprint("key-", i))
		}
		zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, n-1)
		for range n {
			_ = call(g.Get(fmt.Sprint("key-", zipf.Uint64())), nil)
		}
		return g
	})
	t.Logf("%.0f bytes per closed breaker, %.0f more per key of a Group", single, keyed-single)
	assert.True(t, single <= 640, "%.0f bytes per breaker, at most 640", single)
	assert.True(t, keyed-single <= 200, "%.0f bytes per key, at most 200", keyed-single)
}

// The crowd at the end of the open time is answered at once: its slowest calls
// are told, and none of them waits for the probe.
func TestStampedeIsAnsweredAtOnce(t *testing.T) {
	b := halfOpen(breaker.Config{Probes: 10})
	took := make([]time.Duration, 1000)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range took {
		wg.Go(func() {
			<-start
			began := time.Now()
			_, _ = b.Allow(context.Background()) // probes are never given back
			took[i] = time.Since(began)
		})
	}
	close(start)
	wg.Wait()
	slices.Sort(took)
	t.Logf("Allow by 1000 goroutines at once: p50 %v, p99.9 %v", took[500], took[999])
	assert.Equal(t, 10, b.Stats().Probes)
	assert.Equal(t, uint64(990), b.Stats().Rejected)
}
