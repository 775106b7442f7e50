package breaker_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/internal/gatetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// halfOpen returns a breaker with a free probe that does not recover by
// itself.
func halfOpen(c breaker.Config) *breaker.Breaker {
	c.OpenFor, c.MaxOpenFor = 1, 1
	b := breaker.New(c)
	b.Trip(1, nil)
	for b.State() != breaker.HalfOpen {
	}
	return b
}

func TestBreakerIsAGate(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		gatetest.Run(t, func() gatetest.Subject {
			b := breaker.New(breaker.Config{})
			return gatetest.Subject{Gate: b, Close: func() { b.Trip(time.Hour, errDown) }}
		})
	})
	t.Run("half-open", func(t *testing.T) {
		gatetest.Run(t, func() gatetest.Subject {
			b := halfOpen(breaker.Config{Probes: 1000})
			return gatetest.Subject{
				Gate:  b,
				InUse: func() int { return b.Stats().Probes },
				Close: func() { b.Hold(breaker.Open) },
			}
		})
	})
	t.Run("watched", func(t *testing.T) {
		gatetest.Run(t, func() gatetest.Subject {
			b := breaker.New(breaker.Config{SlowAfter: time.Hour, Ramp: time.Hour, LastCalls: 10})
			return gatetest.Subject{Gate: b, Close: func() { b.Trip(time.Hour, errDown) }}
		})
	})
}

func TestChainIsAGate(t *testing.T) {
	for name, n := range map[string]int{"two": 2, "six": 6} {
		t.Run(name, func(t *testing.T) {
			gatetest.Run(t, func() gatetest.Subject {
				gates := make([]breaker.Gate, n)
				bs := make([]*breaker.Breaker, n)
				for i := range gates {
					bs[i] = halfOpen(breaker.Config{Probes: 1000})
					gates[i] = bs[i]
				}
				return gatetest.Subject{
					Gate: breaker.Chain(gates...),
					InUse: func() int {
						for _, b := range bs[1:] {
							if b.Stats().Probes != bs[0].Stats().Probes {
								return -1
							}
						}
						return bs[0].Stats().Probes
					},
					Close:  func() { bs[0].Hold(breaker.Open) },
					Allocs: float64((n + 3) / 4),
				}
			})
		})
	}
}

// T7: the refusal of a later gate spends no probe of an earlier one.
func TestRefusalInAChainCancelsWhatWasTaken(t *testing.T) {
	first, second := halfOpen(breaker.Config{}), halfOpen(breaker.Config{})
	third := breaker.New(breaker.Config{Name: "third"})
	third.Trip(time.Hour, nil)
	g := breaker.Chain(first, second, third)
	for range 3 {
		assert.Same(t, third, refused(t, g, "open").Gate)
		assert.Equal(t, []int{0, 0}, []int{first.Stats().Probes, second.Stats().Probes})
		assert.Equal(t, uint64(0), first.Stats().Ignored, "canceled, not ignored")
	}
}

// wrap is a gate that tells when its permits come back.
type wrap struct {
	name  string
	allow func()
	told  *[]string
}

func (w wrap) Allow(ctx context.Context) (breaker.Permit, error) {
	if w.allow != nil {
		w.allow()
	}
	return breaker.NewPermit(ctx, w, 7), nil
}

func (w wrap) Settle(token int64, o breaker.Outcome, err error) {
	*w.told = append(*w.told, w.name+" "+o.String())
	if w.name == "panics" {
		panic(token)
	}
}

func (w wrap) Cancel(int64) { *w.told = append(*w.told, w.name+" canceled") }

func TestChainGivesPermitsBackLastFirst(t *testing.T) {
	var told []string
	g := breaker.Chain(wrap{name: "a", told: &told}, wrap{name: "panics", told: &told}, wrap{name: "c", told: &told})
	assert.Equal(t, int64(7), assert.Panics(t, func() { _ = call(g, errDown) }))
	assert.Equal(t, []string{"c failure", "panics failure", "a failure"}, told, "a panic keeps nothing from the others")
	told = nil
	allow(t, g).Cancel()
	assert.Equal(t, []string{"c canceled", "panics canceled", "a canceled"}, told)
}

func TestPanicInAllowOfAChainCancelsWhatWasTaken(t *testing.T) {
	var told []string
	g := breaker.Chain(wrap{name: "a", told: &told}, wrap{name: "b", allow: func() { panic("allow") }, told: &told})
	assert.Equal(t, "allow", assert.Panics(t, func() { _ = call(g, nil) }))
	assert.Equal(t, []string{"a canceled"}, told)
}

func TestChainHasTheShortestTimeLimit(t *testing.T) {
	limit := func(ds ...time.Duration) time.Duration {
		var gates []breaker.Gate
		for _, d := range ds {
			gates = append(gates, breaker.New(breaker.Config{Timeout: d}))
		}
		return allow(t, breaker.Chain(gates...)).Timeout()
	}
	assert.Equal(t, time.Duration(0), limit(0, 0))
	assert.Equal(t, time.Second, limit(0, time.Minute, time.Second, 0, time.Hour, time.Minute))
	assert.Equal(t, time.Second, limit(time.Second))
}

func TestChainWithoutGatesAdmitsEverything(t *testing.T) {
	g := breaker.Chain()
	assert.NoError(t, call(g, nil))
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Allow(dead)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestChainOfNilPanics(t *testing.T) {
	assert.Panics(t, func() { breaker.Chain(breaker.New(breaker.Config{}), nil) })
}

func TestChainIsIdleIfAllItsGatesAre(t *testing.T) {
	in(t, func(t *testing.T) {
		a, b := breaker.New(breaker.Config{}), breaker.New(breaker.Config{})
		idle := func(g breaker.Gate) bool { return g.(interface{ Idle() bool }).Idle() }
		require.True(t, idle(breaker.Chain(a, b)))
		b.Hold(breaker.Closed)
		assert.False(t, idle(breaker.Chain(a, b)))
		assert.False(t, idle(breaker.Chain(a, wrap{})), "a gate that cannot say is not idle")
	})
}
