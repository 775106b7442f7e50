package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

// The sequential specification is a register per key: a read returns what was
// written. The source is written first and invalidated after, or written by Set;
// both together are one write, and until it is over a read may return the value of
// before or the new one. Eviction and failed loads do not change what a read may
// return.
type step struct {
	key   string
	write int  // 0: a read
	over  bool // the end of a write, otherwise its beginning
}

// values are what a read may return.
type values struct{ last, next int }

var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(step).key
			byKey[key] = append(byKey[key], op)
		}
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return values{} },
	Step: func(state, in, out any) (bool, any) {
		v := state.(values)
		switch s := in.(step); {
		case s.over:
			return true, values{s.write, s.write}
		case s.write != 0:
			return true, values{v.last, s.write}
		}
		return out.(int) == v.last || out.(int) == v.next, v
	},
}

// ends makes two operations of each write: it begins at its call and is over at
// its return.
func ends(history []porcupine.Operation) (all []porcupine.Operation) {
	for _, op := range history {
		op.Call, op.Return = 2*op.Call, 2*op.Return
		if in := op.Input.(step); in.write != 0 {
			begun := op
			begun.Return = op.Call + 1
			all = append(all, begun)
			in.over = true
			op.Input, op.Call = in, op.Return-1
		}
		all = append(all, op)
	}
	return all
}

// budget is how long a linearizability test looks for a counterexample: 5 s, or
// KEELSON_CACHE_SOAK.
func budget(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("KEELSON_CACHE_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		return d
	}
	return 5 * time.Second
}

var errSource = errors.New("the source failed")

// register under test: its values, and loads that fail and sleep.
type backing struct {
	mu     sync.Mutex
	values map[string]int
	last   int
	sleep  time.Duration
	apart  bool // the cache does not save, its callers do
}

func (b *backing) load(_ context.Context, key string) (int, error) {
	b.mu.Lock()
	v := b.values[key]
	b.mu.Unlock()
	if rand.IntN(4) == 0 {
		time.Sleep(b.sleep)
	}
	if rand.IntN(10) == 0 {
		return 0, errSource
	}
	return v, nil
}

func (b *backing) save(_ context.Context, values map[string]int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(b.values, values)
	return nil
}

// next returns a value that was never written before.
func (b *backing) next() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	return b.last
}

// TestOneProcessIsLinearizable: on one node, a write that has returned is seen by
// every read that begins later.
func TestOneProcessIsLinearizable(t *testing.T) {
	for end := time.Now().Add(budget(t)); time.Now().Before(end); {
		b := &backing{values: map[string]int{}, sleep: 50 * time.Microsecond}
		c, err := cache.New(cache.Config[string, int]{Load: b.load, Save: b.save, MaxEntries: 1 + rand.IntN(3)})
		require.NoError(t, err)
		history := drive(b, []*cache.Cache[string, int]{c}, 200)
		verdict := porcupine.CheckOperationsTimeout(register, ends(history), 20*time.Second)
		require.NotEqual(t, porcupine.Illegal, verdict)
	}
}

// TestSetsWithoutTheLockAreLinearizable: as above, where a Set of a key that is
// there swaps the value without the lock of its shard. The caller writes the source,
// then sets or invalidates; loads, expiry and evictions come in between.
func TestSetsWithoutTheLockAreLinearizable(t *testing.T) {
	ttls := []time.Duration{0, 30 * time.Microsecond, 60 * time.Microsecond}
	for round, end := 0, time.Now().Add(budget(t)/2); time.Now().Before(end); round++ {
		b := &backing{values: map[string]int{}, sleep: 50 * time.Microsecond, apart: true}
		c, err := cache.New(cache.Config[string, int]{
			Load: b.load, MaxEntries: 1 + rand.IntN(3), Policy: cache.Policy{TTL: ttls[round%len(ttls)]},
		})
		require.NoError(t, err)
		history := drive(b, []*cache.Cache[string, int]{c}, 200)
		verdict := porcupine.CheckOperationsTimeout(register, ends(history), 20*time.Second)
		require.NotEqual(t, porcupine.Illegal, verdict)
	}
}

// TestNodesReadTheirOwnWrites: one node of three writes and reads, the others read,
// and the links delay, double and lose. While a write is on its way, the layers may
// answer with the old value after somebody has seen the new one in the source, so
// this is a regular register (Lamport, "On Interprocess Communication", 1986), not
// an atomic one: a read returns the last write that was over when it began, or one
// that overlaps it.
func TestNodesReadTheirOwnWrites(t *testing.T) {
	seed := uint64(0)
	for end := time.Now().Add(budget(t)); time.Now().Before(end); {
		seed++
		synctest.Test(t, func(t *testing.T) {
			b := &backing{values: map[string]int{}, sleep: 30 * time.Millisecond}
			cluster := cachetest.NewCluster(seed)
			cluster.SetFaults(cachetest.Faults{Latency: 5 * time.Millisecond, Drop: 0.1, Duplicate: 0.1, LoseReply: 0.02, Fail: 0.02})
			var caches []*cache.Cache[string, int]
			for range nodes {
				link := cluster.Node()
				c, err := cache.New(cache.Config[string, int]{
					Load: b.load, Remote: link, Bus: link, MaxEntries: 2, MaxLag: time.Second,
				})
				require.NoError(t, err)
				defer c.Close()
				caches = append(caches, c)
			}
			time.Sleep(time.Second)
			var others sync.WaitGroup
			stop := make(chan struct{})
			for _, c := range caches[1:] {
				others.Go(func() { readUntil(c, stop) })
			}
			history := drive(b, caches[:1], 50)
			close(stop)
			others.Wait()
			require.NoError(t, regular(history), "seed %d", seed)
		})
	}
}

// regular checks a history whose writes of a key do not overlap and grow.
func regular(history []porcupine.Operation) error {
	for _, read := range history {
		in := read.Input.(step)
		if in.write != 0 {
			continue
		}
		least, most := 0, 0
		for _, op := range history {
			w := op.Input.(step)
			if w.write == 0 || w.key != in.key {
				continue
			}
			if op.Return < read.Call {
				least = max(least, w.write)
			}
			if op.Call < read.Return {
				most = max(most, w.write)
			}
		}
		if got := read.Output.(int); got < least || got > most {
			return fmt.Errorf("%s: read %d, which must be %d to %d", in.key, got, least, most)
		}
	}
	return nil
}

func readUntil(c *cache.Cache[string, int], stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(10)) * time.Millisecond):
			_, _ = c.Get(context.Background(), "k"+string('0'+rune(rand.IntN(2))))
		}
	}
}

// drive lets eight goroutines use two keys, and returns what each did and saw. A
// read that fails has seen nothing.
func drive(b *backing, caches []*cache.Cache[string, int], operations int) (history []porcupine.Operation) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var order atomic.Int64 // not time: on the fake clock much happens in the same instant
	turn := map[string]chan struct{}{"k0": make(chan struct{}, 1), "k1": make(chan struct{}, 1)}
	for client := range 8 {
		c := caches[client%len(caches)]
		rng := rand.New(rand.NewPCG(uint64(client), rand.Uint64()))
		wg.Go(func() {
			for range operations {
				in := step{key: "k" + string('0'+rune(rng.IntN(2)))}
				op := porcupine.Operation{ClientId: client}
				out, err := 0, error(nil)
				if rng.IntN(4) == 0 {
					// One at a time: in which order two writes that overlap reach the source is
					// nobody's promise.
					turn[in.key] <- struct{}{}
					op.Call = order.Add(1)
					in.write = writeThrough(b, c, rng, in.key)
					op.Return = order.Add(1)
					<-turn[in.key]
				} else {
					op.Call = order.Add(1)
					out, err = read(b, c, rng, in.key)
					op.Return = order.Add(1)
				}
				op.Input, op.Output = in, out
				if err != nil {
					continue
				}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
				if rng.IntN(8) == 0 {
					time.Sleep(b.sleep)
				}
			}
		})
	}
	wg.Wait()
	return history
}

// read reads a key, one time in four from the source if the cache does not save.
func read(b *backing, c *cache.Cache[string, int], rng *rand.Rand, key string) (int, error) {
	if b.apart && rng.IntN(4) == 0 {
		return c.Refresh(context.Background(), key)
	}
	return c.Get(context.Background(), key)
}

// writeThrough writes a key, in one of two ways.
func writeThrough(b *backing, c *cache.Cache[string, int], rng *rand.Rand, key string) int {
	v := b.next()
	if b.apart {
		_ = b.save(context.Background(), map[string]int{key: v})
	}
	if rng.IntN(2) == 0 && b.sleep < time.Millisecond {
		_ = c.Set(context.Background(), key, v) // neither fails nor is pending: Save does not, and there is no Bus
		return v
	}
	_ = b.save(context.Background(), map[string]int{key: v})
	_ = c.Invalidate(context.Background(), key) // pending is as good, on this node
	return v
}
