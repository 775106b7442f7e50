package retry_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keelson-go/keelson/retry"
)

// op is what a goroutine does with a budget.
type op string

const (
	success  op = "success"
	failure  op = "failure"
	withdraw op = "withdraw"
	refund   op = "refund"
)

func apply(b *retry.TokenBudget, o op) (granted bool) {
	switch o {
	case success:
		b.Success(1)
	case failure:
		b.Failure(1, errDown)
	case refund:
		b.Refund(1, errDown)
	case withdraw:
		return b.Withdraw(1, errDown)
	}
	return false
}

// rules is a budget as integers and one thread would have it, in thousandths of
// a token.
type rules struct {
	capacity, gain, loss, cost, floor int // floor: granted above it
}

var (
	bucket   = rules{capacity: 3000, gain: 250, cost: 1000, floor: 999} // Ratio 0.25, Burst 3
	throttle = rules{capacity: 3000, gain: 250, loss: 1000, floor: 1500}
)

func (r rules) budget() *retry.TokenBudget {
	if r == throttle {
		return retry.NewThrottle(3, .25)
	}
	return retry.NewBudget(retry.BudgetConfig{Ratio: .25, PerSecond: -1, Burst: 3})
}

func (r rules) apply(tokens int, o op) (next int, granted bool) {
	switch o {
	case success:
		tokens += r.gain
	case failure:
		tokens -= r.loss
	case refund:
		tokens += r.cost
	case withdraw:
		if granted = tokens > r.floor; granted {
			tokens -= r.cost
		}
	}
	return min(max(tokens, 0), r.capacity), granted
}

// Histories of 8 goroutines are linearizable: some order of the calls, in which
// each one lies between its start and its end, gives the same answers on one
// thread.
func TestBudgetIsLinearizable(t *testing.T) {
	began := time.Now()
	for _, r := range []rules{bucket, throttle} {
		model := porcupine.Model{
			Init: func() any { return r.capacity },
			Step: func(state, input, output any) (bool, any) {
				next, granted := r.apply(state.(int), input.(op))
				return granted == output.(bool), next
			},
			DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " ", output) },
		}
		for range 300 {
			b := r.budget()
			var mu sync.Mutex
			var history []porcupine.Operation
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					for range 8 {
						o := pick(local(), success, success, withdraw, withdraw, withdraw, refund, failure)
						call := time.Since(began).Nanoseconds()
						granted := apply(b, o)
						back := time.Since(began).Nanoseconds()
						mu.Lock()
						history = append(history, porcupine.Operation{ClientId: g, Input: o, Output: granted, Call: call, Return: back})
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if porcupine.CheckOperationsTimeout(model, history, 10*time.Second) != porcupine.Ok {
				t.Fatalf("not linearizable: %+v", history)
			}
		}
	}
}

func local() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }

// The same operations, one after the other, give the same answers and the same
// tokens as the integers, for ever.
func TestBudgetFollowsTheIntegers(t *testing.T) {
	for _, r := range []rules{bucket, throttle} {
		random := rand.New(rand.NewPCG(1, 2))
		b, tokens := r.budget(), r.capacity
		for i := range 200_000 {
			o := pick(random, success, success, success, withdraw, withdraw, refund, failure)
			want := false
			tokens, want = r.apply(tokens, o)
			if got := apply(b, o); got != want || b.Stats().Available != float64(tokens)/1000 {
				t.Fatalf("%d: %s: %v, want %v; %v tokens, want %v", i, o, got, want, b.Stats().Available, tokens)
			}
		}
	}
}

// The promise of BudgetConfig over every stretch of time, not from the start
// alone: in virtual time, with random pauses and successes.
func TestBudgetPromiseOverEveryStretch(t *testing.T) {
	for _, c := range []retry.BudgetConfig{
		{}, {Ratio: .5, PerSecond: 20, Burst: 3}, {Ratio: -1, PerSecond: .3, Burst: 1}, {Ratio: 1, PerSecond: -1, Burst: 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 4))
			b := retry.NewBudget(c)
			c = withDefaults(c)
			// The most that some stretch up to now has over its earnings: a
			// stretch that is worth less than nothing is left out, as in the
			// maximum sum of a subarray.
			over, last := 0.0, time.Now()
			for range 50_000 {
				if random.IntN(3) == 0 {
					time.Sleep(time.Duration(random.ExpFloat64() * float64(300*time.Millisecond)))
				}
				over = max(0, over-time.Since(last).Seconds()*max(c.PerSecond, 0))
				last = time.Now()
				if random.IntN(2) == 0 {
					b.Success(1)
					over = max(0, over-max(c.Ratio, 0))
				} else if b.Withdraw(1, errDown) {
					over++
				}
				// One step of the clock, 10 ms, may be credited after a pause.
				if slack := max(c.PerSecond, 0)*.01 + 1e-4; over > float64(c.Burst)+slack {
					t.Fatalf("%+v: %v more than earned", c, over)
				}
			}
		})
	}
}

func withDefaults(c retry.BudgetConfig) retry.BudgetConfig {
	if c == (retry.BudgetConfig{}) {
		return retry.BudgetConfig{Ratio: .1, PerSecond: 1, Burst: 10}
	}
	return c
}
