package breaker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
)

// tally is a gate of another package, which counts what comes back to it.
type tally struct {
	mu              sync.Mutex
	settled, undone int
	tokens          int64
}

func (g *tally) Allow(ctx context.Context) (breaker.Permit, error) {
	return breaker.NewPermit(ctx, g, 3), nil
}

func (g *tally) Settle(token int64, _ breaker.Outcome, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settled++
	g.tokens += token
}

func (g *tally) Cancel(token int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.undone++
	g.tokens += token
}

// However many gates of others there are, each gets its own permits back.
func TestPermitsOfOtherPackagesFindTheirIssuer(t *testing.T) {
	gates := make([]*tally, 9)
	for i := range gates {
		gates[i] = new(tally)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				var held []*breaker.Permit
				for _, g := range gates {
					p, _ := g.Allow(context.Background())
					held = append(held, &p)
				}
				for i, p := range held {
					if i%2 == 0 {
						p.Done(nil)
					} else {
						p.Cancel()
					}
					p.Done(nil)
				}
			}
		})
	}
	wg.Wait()
	for i, g := range gates {
		assert.Equal(t, [2]int{800 * (1 - i%2), 800 * (i % 2)}, [2]int{g.settled, g.undone}, i)
		assert.Equal(t, int64(2400), g.tokens, i)
	}
}

// Gates of others cost no allocation, nested as deep as people nest them: less
// than one per call, because the race detector makes a sync.Pool forget.
func TestPermitsOfOtherPackagesDoNotAllocate(t *testing.T) {
	gates, ctx := []breaker.Gate{new(tally), new(tally), new(tally), new(tally)}, context.Background()
	n := testing.AllocsPerRun(1000, func() {
		for _, g := range gates {
			_, _ = breaker.Do(ctx, g, good)
		}
	})
	assert.True(t, n < 4, "%v allocations by calls through 4 gates", n)
}

// A permit of nobody is as good as the zero Permit.
func TestPermitOfNobodyDoesNothing(t *testing.T) {
	p := breaker.NewPermit(context.Background(), nil, 1)
	assert.Equal(t, time.Duration(0), p.Timeout())
	p.Done(errDown)
	p.Cancel()
}

// The time limit belongs to the call, so it is gone with the permit. A shadow's
// permit has one too: the call that it stands for runs.
func TestPermitHasItsTimeLimitUntilItIsGivenBack(t *testing.T) {
	b := breaker.New(breaker.Config{Timeout: time.Second, Shadow: true})
	for range 2 {
		p := allow(t, b)
		assert.Equal(t, time.Second, p.Timeout())
		p.Done(nil)
		assert.Equal(t, time.Duration(0), p.Timeout())
		b.Trip(time.Hour, nil) // from now on the permits are a shadow's
	}
	assert.Equal(t, uint64(1), b.Stats().Rejected)
}
