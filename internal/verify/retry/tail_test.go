package retry_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/keelson-go/keelson/retry/hedge"
)

// backend answers in a lognormal time (median 10 ms, sigma 0.3), but one
// attempt in a hundred takes between half a second and one and a half.
func backend(ctx context.Context) error {
	takes := time.Duration(10e6 * math.Exp(.3*rand.NormFloat64()))
	if rand.IntN(100) == 0 {
		takes = 500*time.Millisecond + rand.N(time.Second)
	}
	select {
	case <-time.After(takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latencies makes calls, each a fan-out over so many shards, and returns how
// long they took, sorted, and the number of attempts per shard call.
func latencies(t *testing.T, p *hedge.Policy, calls, shards int) (took []time.Duration, attempts float64) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		made := 0
		for range calls {
			began := time.Now()
			var wg sync.WaitGroup
			for range shards {
				wg.Go(func() {
					err := hedge.Run(t.Context(), p, func(ctx context.Context) error {
						mu.Lock()
						made++
						mu.Unlock()
						return backend(ctx)
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			took = append(took, time.Since(began))
		}
		attempts = float64(made) / float64(calls*shards)
	})
	slices.Sort(took)
	return took, attempts
}

func at(sorted []time.Duration, quantile float64) time.Duration {
	return sorted[int(quantile*float64(len(sorted)-1))]
}

// S3: an extra call for the slowest twentieth takes the tail away, of single
// calls and, what shows more, of calls to many.
func TestTail(t *testing.T) {
	tab := newTable("tail", "calls", "hedged", "attempts per call", "median", "p99", "p99.9")
	quantiles := map[string][]time.Duration{}
	for _, c := range []struct {
		name          string
		calls, shards int
	}{{"single", 30_000, 1}, {"fan-out of 100", 400, 100}} {
		for _, hedged := range []bool{false, true} {
			p := &hedge.Policy{Max: -1}
			if hedged {
				p = &hedge.Policy{Latency: hedge.NewLatency(.95)}
			}
			took, attempts := latencies(t, p, c.calls, c.shards)
			quantiles[fmt.Sprint(c.name, hedged)] = took
			round := func(q float64) string { return at(took, q).Round(100 * time.Microsecond).String() }
			tab.row(c.name, map[bool]string{false: "no", true: "yes"}[hedged], fmt.Sprintf("%.3f", attempts), round(.5), round(.99), round(.999))
			// The window of up to 1024 calls estimates the quantile with an error
			// of its own; five standard deviations of that beside the 5 %.
			assert.Less(t, attempts, 1.05+5*math.Sqrt(.05*.95/512), c.name)
		}
	}
	tab.done(t)
	assert.Greater(t, at(quantiles["singlefalse"], .999), 5*at(quantiles["singletrue"], .999))
	assert.Greater(t, at(quantiles["fan-out of 100false"], .5), 5*at(quantiles["fan-out of 100true"], .5))
}
