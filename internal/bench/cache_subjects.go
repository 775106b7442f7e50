package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	theine "github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/maypok86/otter/v2"
	"github.com/viccon/sturdyc"

	"github.com/keelson-go/keelson/cache"
)

// An l1 is a contender of the rows that read and write a cache in the process.
// Each has a TTL of an hour, as every cache that anybody would run in production.
type l1 struct {
	get   func(key string) bool
	set   func(key, value string)
	load  func(key string) bool // get through a loader; nil if it has none
	count func() int            // resident entries
	close func()
}

const cacheTTL = time.Hour

// errAbsent is a load that a row did not expect.
var errAbsent = errors.New("loaded a key that was there")

func keelsonL1(size int, step time.Duration) l1 {
	ctx := context.Background()
	c := must(cache.New(cache.Config[string, string]{
		MaxEntries: size,
		Policy:     cache.Policy{TTL: cacheTTL},
		ClockStep:  step,
	}))
	return l1{
		get:   func(key string) bool { _, err := c.Get(ctx, key); return err == nil },
		set:   func(key, value string) { _ = c.Set(ctx, key, value) },
		count: func() int { return int(c.Stats().Entries) },
		close: func() { _ = c.Close() },
	}
}

// keelsonLoading has a loader, so that Get is its read-through. It is filled by
// Set, hence every load is a mistake.
func keelsonLoading(size int, step time.Duration) l1 {
	ctx := context.Background()
	c := must(cache.New(cache.Config[string, string]{
		MaxEntries: size,
		Policy:     cache.Policy{TTL: cacheTTL},
		ClockStep:  step,
		Load:       func(context.Context, string) (string, error) { return "", errAbsent },
	}))
	return l1{
		load:  func(key string) bool { _, err := c.Get(ctx, key); return err == nil },
		set:   func(key, value string) { _ = c.Set(ctx, key, value) },
		close: func() { _ = c.Close() },
	}
}

// coarseClock gives otter the clock that keelson has with ClockStep.
type coarseClock struct {
	now  atomic.Int64
	stop chan struct{}
}

func newCoarseClock() *coarseClock {
	c := &coarseClock{stop: make(chan struct{})}
	c.now.Store(time.Now().UnixNano())
	go func() {
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case now := <-ticks.C:
				c.now.Store(now.UnixNano())
			case <-c.stop:
				return
			}
		}
	}()
	return c
}

func (c *coarseClock) NowNano() int64                        { return c.now.Load() }
func (c *coarseClock) Tick(d time.Duration) <-chan time.Time { return time.Tick(d) }

func otterL1(size int, step time.Duration) l1 {
	options := &otter.Options[string, string]{
		MaximumSize:      size,
		ExpiryCalculator: otter.ExpiryWriting[string, string](cacheTTL),
	}
	stop := func() {}
	if step > 0 {
		clock := newCoarseClock()
		options.Clock, stop = clock, func() { close(clock.stop) }
	}
	c := otter.Must(options)
	ctx := context.Background()
	loader := otter.LoaderFunc[string, string](func(context.Context, string) (string, error) { return "", errAbsent })
	return l1{
		get:   func(key string) bool { _, ok := c.GetIfPresent(key); return ok },
		set:   func(key, value string) { c.Set(key, value) },
		load:  func(key string) bool { _, err := c.Get(ctx, key, loader); return err == nil },
		count: c.EstimatedSize,
		close: func() { c.StopAllGoroutines(); stop() },
	}
}

func theineL1(size int, _ time.Duration) l1 {
	c := must(theine.NewBuilder[string, string](int64(size)).Build())
	return l1{
		get:   func(key string) bool { _, ok := c.Get(key); return ok },
		set:   func(key, value string) { c.SetWithTTL(key, value, 1, cacheTTL) },
		count: c.EstimatedSize,
		close: c.Close,
	}
}

func ristrettoL1(size int, _ time.Duration) l1 {
	c := must(ristretto.NewCache(&ristretto.Config[string, string]{
		NumCounters: 10 * int64(size), MaxCost: int64(size), BufferItems: 64, IgnoreInternalCost: true,
	}))
	return l1{
		get: func(key string) bool { _, ok := c.Get(key); return ok },
		set: func(key, value string) { c.SetWithTTL(key, value, 1, cacheTTL) },
		count: func() int {
			c.Wait()
			return size - int(c.RemainingCost())
		},
		close: c.Close,
	}
}

// golangLRU and sturdycL1 have goroutines without an end, so there is one of each
// size.
func golangLRU(size int, _ time.Duration) l1 {
	c := once(&lrus, size, func() *expirable.LRU[string, string] {
		return expirable.NewLRU[string, string](size, nil, cacheTTL)
	})
	return l1{
		get:   func(key string) bool { _, ok := c.Get(key); return ok },
		set:   func(key, value string) { c.Add(key, value) },
		count: c.Len,
		close: func() {},
	}
}

// sturdycL1 evicts a tenth of a shard when it is full, as its documentation does.
func sturdycL1(size int, _ time.Duration) l1 {
	c := once(&sturdycs, size, func() *sturdyc.Client[string] {
		return sturdyc.New[string](size, 10, cacheTTL, 10)
	})
	ctx := context.Background()
	fetch := func(context.Context) (string, error) { return "", errAbsent }
	return l1{
		get:   func(key string) bool { _, ok := c.Get(key); return ok },
		set:   func(key, value string) { c.Set(key, value) },
		load:  func(key string) bool { _, err := c.GetOrFetch(ctx, key, fetch); return err == nil },
		count: c.Size,
		close: func() {},
	}
}

var lrus, sturdycs sync.Map

func once[T any](all *sync.Map, size int, build func() T) T {
	if c, ok := all.Load(size); ok {
		return c.(T)
	}
	c := build()
	all.Store(size, c)
	return c
}

// The workload of the L1 rows: 65536 keys, zipf with s = 1.01 and v = 1.
const (
	cacheKeys     = 1 << 16
	cacheSequence = 1 << 20
)

var cacheNames = sync.OnceValue(func() []string {
	names := make([]string, cacheKeys)
	for i := range names {
		names[i] = fmt.Sprintf("user:%019d", i)
	}
	return names
})

var cacheOrder = sync.OnceValue(func() []uint32 {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 1)), 1.01, 1, cacheKeys-1)
	order := make([]uint32, cacheSequence)
	for i := range order {
		order[i] = uint32(zipf.Uint64())
	}
	return order
})

// filled returns a contender that holds all keys, after its own goroutines had
// time to put them where they belong.
func filled(c l1) l1 {
	for _, name := range cacheNames() {
		c.set(name, name)
	}
	for range 100 {
		runtime.Gosched()
	}
	return c
}
