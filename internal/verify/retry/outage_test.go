package retry_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/keelson-go/keelson/retry"
)

// phase is what happened to the calls that began in it.
type phase struct {
	calls, attempts, succeeded atomic.Int64
	retries                    uint64 // granted, by the end of the phase
}

func (p *phase) rate() float64 { return float64(p.succeeded.Load()) / float64(p.calls.Load()) }

// outage makes Poisson calls, 200 a second for two minutes, of which the second
// third fails entirely and the rest at 1 %.
func outage(t *testing.T, p *retry.Policy, budget *retry.TokenBudget) (phases []phase) {
	phases = make([]phase, 3)
	const third = 40 * time.Second
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		began := time.Now()
		for i := range phases {
			ph, failing := &phases[i], []float64{.01, 1, .01}[i]
			for time.Since(began) < time.Duration(i+1)*third {
				time.Sleep(time.Duration(rand.ExpFloat64() * float64(5*time.Millisecond)))
				ph.calls.Add(1)
				wg.Go(func() {
					if retry.Run(t.Context(), p, func(context.Context) error {
						ph.attempts.Add(1)
						time.Sleep(10 * time.Millisecond)
						if rand.Float64() < failing {
							return errDown
						}
						return nil
					}) == nil {
						ph.succeeded.Add(1)
					}
				})
			}
			wg.Wait()
			if budget != nil {
				ph.retries = budget.Stats().Withdrawn
			}
		}
	})
	return phases
}

// S2: in an outage a budget keeps the load near the calls themselves, and in
// good times it is not felt.
func TestOutage(t *testing.T) {
	naive := outage(t, &retry.Policy{}, nil)
	var b *retry.TokenBudget
	synctest.Test(t, func(t *testing.T) { b = retry.NewBudget(retry.BudgetConfig{}) }) // its clock is the bubbles'
	budgeted := outage(t, &retry.Policy{Budget: b}, b)

	tab := newTable("outage", "phase", "attempts per call, unlimited", "with budget", "success rate, unlimited", "with budget")
	before := uint64(0)
	for i, name := range []string{"1 % fail", "all fail", "1 % fail again"} {
		u, w := &naive[i], &budgeted[i]
		perCall := func(p *phase) string {
			return fmt.Sprintf("%.3f", float64(p.attempts.Load())/float64(p.calls.Load()))
		}
		tab.row(name, perCall(u), perCall(w), fmt.Sprintf("%.4f", u.rate()), fmt.Sprintf("%.4f", w.rate()))

		extra := float64(w.retries - before)
		before = w.retries
		assert.LessOrEqual(t, extra, 10+.1*float64(w.succeeded.Load())+41, name) // the last calls end a little later
		if i != 1 {
			// Both lose a call in a million; five standard deviations of that.
			sigma := math.Sqrt(1e-6/float64(w.calls.Load())) + 1e-4
			assert.InDelta(t, u.rate(), w.rate(), 5*sigma, name)
		}
	}
	tab.done(t)
	assert.Greater(t, float64(naive[1].attempts.Load()), 2.99*float64(naive[1].calls.Load()))
	assert.Less(t, float64(budgeted[1].attempts.Load()), 1.01*float64(budgeted[1].calls.Load()))
}
