package retry_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/keelson-go/keelson/retry"
)

var errConflict = errors.New("version conflict")

// contend lets clients read one versioned row and write it back on condition,
// over a network of |Normal(10 ms, 2 ms)| per hop, until each has written once.
func contend(t *testing.T, clients int, b retry.Backoff) (writes int, took time.Duration) {
	hop := func() { time.Sleep(time.Duration(math.Abs(10+2*rand.NormFloat64()) * float64(time.Millisecond))) }
	p := &retry.Policy{MaxAttempts: -1, Backoff: b}
	synctest.Test(t, func(t *testing.T) {
		began, done, version := time.Now(), make(chan int), 0
		turn := make(chan struct{}, 1) // the row's server takes one request at a time
		server := func(request func()) {
			turn <- struct{}{}
			request()
			<-turn
		}
		for range clients {
			go func() {
				err := retry.Run(t.Context(), p, func(context.Context) error {
					seen, conflict := 0, false
					hop()
					server(func() { seen = version })
					hop()
					hop()
					server(func() {
						writes++
						if conflict = seen != version; !conflict {
							version++
						}
					})
					hop()
					if conflict {
						return errConflict
					}
					return nil
				})
				assert.NoError(t, err)
				done <- 1
			}()
		}
		for range clients {
			<-done
		}
		took = time.Since(began)
		assert.Equal(t, clients, version)
	})
	return writes, took
}

// S1: under contention, jitter is what makes a backoff work.
func TestContention(t *testing.T) {
	const base, ceiling, runs = 10 * time.Millisecond, 2 * time.Second, 20
	exponential := retry.Exponential(base, ceiling)
	backoffs := []struct {
		name    string
		backoff retry.Backoff
		jitters bool
	}{
		{"none", retry.Constant(0), false},
		{"Exponential", exponential, false},
		{"Exponential.Jitter(0.5)", exponential.Jitter(.5), true},
		{"FullJitter", retry.FullJitter(base, ceiling), true},
		{"Decorrelated", retry.Decorrelated(base/2, ceiling), true},
	}
	tab := newTable("contention", "clients", "backoff", "writes tried", "last client done")
	for _, clients := range []int{1, 10, 50, 100} {
		writes, took := map[string]float64{}, map[string]float64{}
		for _, b := range backoffs {
			for range runs {
				w, d := contend(t, clients, b.backoff)
				writes[b.name] += float64(w) / runs
				took[b.name] += d.Seconds() / runs
			}
			tab.row(fmt.Sprint(clients), b.name, fmt.Sprintf("%.0f", writes[b.name]), fmt.Sprintf("%.2f s", took[b.name]))
		}
		for _, b := range backoffs {
			if clients >= 50 && b.jitters {
				assert.Less(t, writes[b.name], writes["none"], "%d clients, %s", clients, b.name)
				assert.Less(t, writes[b.name], writes["Exponential"], "%d clients, %s", clients, b.name)
				assert.Less(t, took[b.name], took["Exponential"], "%d clients, %s", clients, b.name)
			}
		}
	}
	tab.done(t)
}
