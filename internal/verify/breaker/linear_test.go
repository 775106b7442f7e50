package breaker_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
)

// input is what a client asks of a gate with a number of places.
type input int

const (
	enter input = iota // output: admitted or not
	leave
	grow // one place more
	shrink
)

// places is the sequential specification: how many calls are in, of how many.
type places struct{ in, max int }

func placesModel(maximum int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return places{0, maximum} },
		Step: func(state, in, out any) (bool, any) {
			s := state.(places)
			switch in.(input) {
			case enter:
				admitted := out.(bool)
				if admitted {
					s.in++
				}
				return admitted == (state.(places).in < s.max), s
			case leave:
				s.in--
			case grow:
				s.max++
			case shrink:
				s.max--
			}
			return true, s
		},
	}
}

// clients enter and leave g and now and then resize it, all at once. It
// returns what each saw, and when.
func clients(g breaker.Gate, n int, resize func(input)) []porcupine.Operation {
	logs := make([][]porcupine.Operation, n)
	start := time.Now()
	var wg sync.WaitGroup
	for id := range n {
		record := func(in input, f func() bool) bool {
			op := porcupine.Operation{ClientId: id, Input: in, Call: int64(time.Since(start))}
			ok := f()
			op.Output, op.Return = ok, int64(time.Since(start))
			logs[id] = append(logs[id], op)
			return ok
		}
		wg.Go(func() {
			for i := range 30 {
				var p breaker.Permit
				admitted := record(enter, func() (ok bool) {
					var err error
					p, err = g.Allow(context.Background())
					return err == nil
				})
				if resize != nil && i%10 == id {
					record(shrink, func() bool { resize(shrink); return true })
					record(grow, func() bool { resize(grow); return true })
				}
				if admitted {
					record(leave, func() bool { p.Cancel(); return true })
				}
			}
		})
	}
	wg.Wait()
	return slices.Concat(logs...)
}

func linearizable(t *testing.T, maximum int, ops []porcupine.Operation) {
	t.Helper()
	if !porcupine.CheckOperations(placesModel(maximum), ops) {
		t.Error("no sequential order of the calls explains what they saw")
	}
}

// Admission to a Concurrency, and to the probes of a half-open breaker, looks
// to all its callers as if one came after the other.
func TestAdmissionIsLinearizable(t *testing.T) {
	for range 50 {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 2})
		linearizable(t, 2, clients(g, 4, nil))

		// SetMax is absolute, so one client at a time may change it.
		resized := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 3})
		var mu sync.Mutex
		maximum := 3
		linearizable(t, 3, clients(resized, 4, func(in input) {
			mu.Lock()
			defer mu.Unlock()
			maximum += map[input]int{grow: 1, shrink: -1}[in]
			resized.SetMax(maximum)
		}))

		b := breaker.New(breaker.Config{Probes: 2})
		b.Trip(1, nil)
		for b.State() != breaker.HalfOpen {
		}
		linearizable(t, 2, clients(b, 4, nil))
	}
}

// The check itself must fail on a gate that lets one too many in.
func TestOvertakingIsNotLinearizable(t *testing.T) {
	ops := []porcupine.Operation{
		{ClientId: 0, Input: enter, Output: true, Call: 0, Return: 1},
		{ClientId: 1, Input: enter, Output: true, Call: 2, Return: 3},
	}
	if porcupine.CheckOperations(placesModel(1), ops) {
		t.Error("two calls in one place pass as linearizable")
	}
}
