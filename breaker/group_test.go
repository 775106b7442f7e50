package breaker_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

type group = breaker.Group[string, *breaker.Breaker]

func newGroup(maxKeys int, c breaker.Config) *group {
	return &group{
		MaxKeys: maxKeys,
		New: func(key string) *breaker.Breaker {
			own := c // New runs on several goroutines at once
			own.Name = key
			return breaker.New(own)
		},
	}
}

func TestGroupKeepsOneGatePerKey(t *testing.T) {
	g := newGroup(0, breaker.Config{})
	a, b := g.Get("a"), g.Get("b")
	assert.Same(t, a, g.Get("a"))
	assert.Same(t, b, g.Get("b"))
	assert.Equal(t, "a", a.Stats().Name)
	assert.Equal(t, 2, g.Len())
	assert.Equal(t, map[string]*breaker.Breaker{"a": a, "b": b}, maps.Collect(g.All()))
	for range g.All() {
		break // a loop may end early
	}
}

func TestGroupMakesOneGateAtATimeForAKey(t *testing.T) {
	var made atomic.Int64
	start := make(chan struct{})
	g := &group{New: func(string) *breaker.Breaker {
		made.Add(1)
		<-start
		return breaker.New(breaker.Config{})
	}}
	got := make([]*breaker.Breaker, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = g.Get("a") })
	}
	for made.Load() < 8 {
	}
	close(start)
	wg.Wait()
	for _, b := range got {
		assert.Same(t, got[0], b)
	}
	assert.Equal(t, 1, g.Len())
}

// T27: made-up keys evict no gate that is open, probing, failing or held, the
// group stays within MaxKeys, and keys without room share one gate.
func TestMadeUpKeysEvictNothingThatMatters(t *testing.T) {
	in(t, func(t *testing.T) {
		g := newGroup(4, breaker.Config{Consecutive: 2})
		bring := map[string]func(*breaker.Breaker){
			"open":    func(b *breaker.Breaker) { b.Trip(time.Second, nil) },
			"probing": func(b *breaker.Breaker) { half(t, b); allow(t, b) },
			"failing": func(b *breaker.Breaker) { calls(t, b, 1, errDown) },
			"held":    func(b *breaker.Breaker) { b.Hold(breaker.Open) },
		}
		before := map[string]*breaker.Breaker{}
		for key, f := range bring {
			before[key] = g.Get(key)
			f(before[key])
		}
		over := g.Get("made up")
		for i := range 1000 {
			require.True(t, over == g.Get(fmt.Sprint("made up ", i)))
		}
		assert.Equal(t, before, maps.Collect(g.All()))
		assert.Equal(t, 4, g.Len())

		// Once they are idle all but the held one may go.
		time.Sleep(time.Hour)
		for i := range 1000 {
			g.Get(fmt.Sprint("later ", i))
		}
		assert.Equal(t, 4, g.Len())
		after := maps.Collect(g.All())
		assert.Same(t, before["held"], after["held"])
		assert.Nil(t, after["failing"])
	})
}

// T27: a key that is in use outlives those that are not.
func TestUsedKeysStay(t *testing.T) {
	g := newGroup(100, breaker.Config{})
	busy := g.Get("busy")
	for i := range 10_000 {
		g.Get(fmt.Sprint(i))
		require.True(t, busy == g.Get("busy"))
	}
	assert.Equal(t, 100, g.Len())
}

// T27: the hand goes round once, or it would pass the keys in use of a small
// group twice and forget one.
func TestKeysInUseAllStay(t *testing.T) {
	g := newGroup(2, breaker.Config{})
	a, b := g.Get("a"), g.Get("b")
	for i := range 100 {
		require.True(t, a == g.Get("a") && b == g.Get("b"))
		g.Get(fmt.Sprint(i))
	}
}

func TestGateWithoutIdleStays(t *testing.T) {
	g := breaker.Group[int, wrap]{MaxKeys: 2, New: func(key int) wrap { return wrap{name: fmt.Sprint(key)} }}
	for key := range 100 {
		g.Get(key)
	}
	assert.Equal(t, "0", g.Get(0).name)
	assert.Equal(t, "1", g.Get(1).name)
	assert.Equal(t, "2", g.Get(99).name, "the first key without room made the gate that all share")
}

// T27: Idle is code of somebody else, which no lock is held for: it may look at
// its group, and take as long as it likes.
func TestIdleIsAskedWithoutALock(t *testing.T) {
	var g breaker.Group[string, asking]
	g = breaker.Group[string, asking]{MaxKeys: 1, New: func(string) asking {
		return asking{func() bool { return g.Len() == 1 && g.Get("first").idle != nil }}
	}}
	for _, key := range []string{"first", "second", "third"} {
		g.Get(key)
	}
	assert.Equal(t, 1, g.Len())
}

type asking struct{ idle func() bool }

func (a asking) Idle() bool { return a.idle() }
func (asking) Allow(context.Context) (p breaker.Permit, err error) {
	return
}

// T27: a gate that came into use while it was asked whether it is idle stays.
func TestGateThatComesIntoUseWhileItIsAskedStays(t *testing.T) {
	var g breaker.Group[string, asking]
	g = breaker.Group[string, asking]{MaxKeys: 1, New: func(key string) asking {
		return asking{func() bool {
			g.Get(key)
			return true
		}}
	}}
	g.Get("busy")
	g.Get("made up")
	for key := range g.All() {
		assert.Equal(t, "busy", key)
	}
}

func TestPanicInNewLeavesNoTrace(t *testing.T) {
	fail := true
	g := &group{New: func(string) *breaker.Breaker {
		if fail {
			panic("new")
		}
		return breaker.New(breaker.Config{})
	}}
	assert.Panics(t, func() { g.Get("a") })
	assert.Equal(t, 0, g.Len())
	fail = false
	assert.NotNil(t, g.Get("a"))
}

// A key that does not equal itself can neither be found nor removed again.
func TestNaNKeysShareTheOverflowGate(t *testing.T) {
	g := breaker.Group[float64, *breaker.Breaker]{New: func(float64) *breaker.Breaker { return breaker.New(breaker.Config{}) }}
	assert.Same(t, g.Get(math.NaN()), g.Get(math.NaN()))
	assert.Equal(t, 0, g.Len())
	assert.NotNil(t, g.Get(1))
}

func TestGroupIsSafeForConcurrentUse(t *testing.T) {
	g := newGroup(50, breaker.Config{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 2000 {
				_ = call(g.Get(fmt.Sprint((j*7+i)%200)), nil)
				if j%100 == 0 {
					for range g.All() {
					}
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 50, g.Len())
	assert.Equal(t, 50, len(maps.Collect(g.All())))
}

func TestKnownKeyDoesNotAllocate(t *testing.T) {
	g := newGroup(0, breaker.Config{})
	key := fmt.Sprint("host-", 1)
	g.Get(key)
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = g.Get(key).Allow(context.Background()) }))
}

func BenchmarkGroupGet(b *testing.B) {
	g := newGroup(0, breaker.Config{})
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("host-", i)
		g.Get(keys[i])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		g.Get(keys[i%1000])
		i++
	}
}
