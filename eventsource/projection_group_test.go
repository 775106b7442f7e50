package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// process is the Checkpoints of one process, which can lose its connection. A
// save finds that out after apply, when it comes to write.
type process struct {
	eventsource.Checkpoints

	mu  sync.Mutex
	cut bool
}

var errCut = errors.New("connection refused")

func (p *process) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
}

func (p *process) ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return errCut
	}
	return nil
}

func (p *process) LoadCheckpoint(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	if err := p.ready(); err != nil {
		return eventsource.Checkpoint{}, err
	}
	return p.Checkpoints.LoadCheckpoint(ctx, name)
}

func (p *process) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	return p.Checkpoints.SaveCheckpoint(ctx, name, old, new, func(ctx context.Context) error {
		if apply != nil {
			if err := apply(ctx); err != nil {
				return err
			}
		}
		return p.ready()
	})
}

// owners tells which Run each partition's record names.
func owners(t *testing.T, cps eventsource.Checkpoints, p eventsource.Projection) map[string]int {
	t.Helper()
	count := map[string]int{}
	for i := range p.Partitions {
		cp, err := cps.LoadCheckpoint(t.Context(), fmt.Sprintf("projection/%s@1/%d", p.Name, i))
		require.NoError(t, err)
		count[string(cp.Data)]++
	}
	return count
}

// Partitions are spread evenly over whoever runs, and given back in turn.
func TestRunsShareThePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		p := balances(8)
		var runs []*running
		for n := range 5 {
			runs = append(runs, start(t.Context(), p, m, l))
			time.Sleep(3 * time.Second) // a tenth of the Lease to see it, another to take
			fill(t, m, 20, 10)
			share := slices.Sorted(maps.Values(owners(t, l, p)))
			assert.Equal(t, n+1, len(share), share)
			assert.True(t, share[len(share)-1]-share[0] <= 1, share)
		}
		for n := range 4 {
			assert.ErrorIs(t, runs[n].end(), errStopped)
			time.Sleep(3 * time.Second)
			assert.Equal(t, 4-n, len(owners(t, l, p)))
			fill(t, m, 20, 10)
		}
		require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 1, 1)))
		assert.ErrorIs(t, runs[4].end(), errStopped)
		l.exactly(t, m, eventsource.All())
	})
}

// A partition moves between batches: a running Apply is not cut short.
func TestHandOverWaitsForTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		fill(t, m, 8, 5)
		p := balances(2)
		p.Apply = func(ctx context.Context, b eventsource.Batch) error {
			select {
			case <-time.After(time.Hour):
				return write(ctx, b)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		var steps log
		p.OnEvent = steps.add
		r1 := start(t.Context(), p, m, l)
		time.Sleep(time.Minute)
		r2 := start(t.Context(), p, m, l)
		time.Sleep(50 * time.Minute)
		assert.Equal(t, 1, len(owners(t, l, p)), "both are busy")
		time.Sleep(11 * time.Minute)
		l.exactly(t, m, eventsource.All())
		assert.Equal(t, 2, len(owners(t, l, p)))
		for _, s := range steps.all() {
			assert.NoError(t, s.Err)
		}
		assert.ErrorIs(t, r1.end(), errStopped)
		assert.ErrorIs(t, r2.end(), errStopped)
	})
}

// T22: an owner that is paused past its lease, in Apply, finds itself fenced:
// its Apply's ctx has ended with that cause, its rows are undone, and OnEvent
// says so. Somebody else has gone on.
func TestZombieIsFenced(t *testing.T) {
	for _, wake := range []string{"while another one owns", "after its own id has owned again"} {
		synctest.Test(t, func(t *testing.T) {
			m, l := eventsource.NewMemory(), newLedger()
			last := fill(t, m, 1, 10)
			proc := &process{Checkpoints: l}
			release := make(chan struct{})
			p := balances(1)
			var steps log
			p.OnEvent = steps.add
			cause := make(chan error, 1)
			stuck := p
			var once sync.Once
			stuck.Apply = func(ctx context.Context, b eventsource.Batch) error {
				once.Do(func() {
					<-release // deaf to ctx, as a paused process is
					cause <- context.Cause(ctx)
				})
				return write(ctx, b)
			}
			zombie := start(t.Context(), stuck, m, proc)
			time.Sleep(time.Second)
			proc.set(true) // and so its beats stop
			other := start(t.Context(), p, m, l)
			time.Sleep(time.Minute)
			require.NoError(t, p.WaitFor(t.Context(), l, last))
			l.exactly(t, m, eventsource.All())
			if wake == "after its own id has owned again" {
				assert.ErrorIs(t, other.end(), errStopped)
				proc.set(false)
				time.Sleep(time.Minute)
			}
			proc.set(false)
			close(release)
			time.Sleep(time.Minute)
			assert.ErrorIs(t, <-cause, eventsource.ErrFenced)
			l.exactly(t, m, eventsource.All())
			lost := 0
			for _, s := range steps.all() {
				if errors.Is(s.Err, eventsource.ErrFenced) {
					lost++
				}
			}
			assert.Equal(t, 1, lost, "%s: %v", wake, lastOf(steps.all(), 5))
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 1, 1)))
			other.stop()
			assert.ErrorIs(t, zombie.end(), errStopped)
			<-other.done
			l.exactly(t, m, eventsource.All())
		})
	}
}

// T22: the new owner has taken the partition and not moved it yet; the save of
// the old one fails all the same, since the epoch is another.
func TestZombieIsFencedBeforeTheNewOwnerMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		last := fill(t, m, 1, 10)
		proc := &process{Checkpoints: l}
		asleep := func(d time.Duration) eventsource.Projection {
			p := balances(1)
			p.Apply = func(ctx context.Context, b eventsource.Batch) error { time.Sleep(d); return write(ctx, b) }
			return p
		}
		zombie := start(t.Context(), asleep(time.Hour), m, proc)
		time.Sleep(time.Second)
		proc.set(true)
		other := start(t.Context(), asleep(10*time.Hour), m, l)
		time.Sleep(time.Minute)
		proc.set(false)
		time.Sleep(2 * time.Hour)
		assert.Equal(t, 0, len(l.all()))
		require.NoError(t, balances(1).WaitFor(t.Context(), l, last))
		l.exactly(t, m, eventsource.All())
		zombie.stop()
		assert.ErrorIs(t, other.end(), errStopped)
		<-zombie.done
	})
}

// A silent process loses its partitions after Lease, not earlier, and a live
// one never, however slow its Apply is.
func TestTakeoverComesAfterLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		p := balances(1)
		p.Lease = 30 * time.Second
		slow := p
		slow.Apply = func(ctx context.Context, b eventsource.Batch) error { time.Sleep(time.Hour); return write(ctx, b) }
		proc := &process{Checkpoints: l}
		r1 := start(t.Context(), slow, m, proc)
		last := fill(t, m, 1, 1)
		time.Sleep(time.Second)
		r2 := start(t.Context(), p, m, l)
		time.Sleep(50 * time.Minute)
		assert.Equal(t, 0, len(l.all()), "the first is alive")
		proc.set(true)
		begin := time.Now()
		require.NoError(t, p.WaitFor(t.Context(), l, last))
		took := time.Since(begin)
		assert.True(t, took > 20*time.Second && took <= 34*time.Second, took)
		proc.set(false)
		assert.ErrorIs(t, r1.end(), errStopped)
		assert.ErrorIs(t, r2.end(), errStopped)
		l.exactly(t, m, eventsource.All())
	})
}

// The owner whose beats do not arrive stops before the others take over.
func TestOwnerWithoutConnectionStopsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		fill(t, m, 1, 1)
		for _, how := range []string{"cut", "hangs"} {
			proc := &process{Checkpoints: newLedger()}
			took := make(chan time.Duration, 1)
			p := balances(1)
			p.Apply = func(ctx context.Context, _ eventsource.Batch) error {
				begin := time.Now()
				if how == "cut" {
					proc.set(true)
				}
				<-ctx.Done()
				took <- time.Since(begin)
				assert.ErrorIs(t, context.Cause(ctx), eventsource.ErrFenced)
				return context.Cause(ctx)
			}
			var cps eventsource.Checkpoints = proc
			if how == "hangs" {
				var hang atomic.Bool
				apply := p.Apply
				p.Apply = func(ctx context.Context, b eventsource.Batch) error { hang.Store(true); return apply(ctx, b) }
				cps = hanging{eventsource.NewMemory(), &hang}
			}
			r := start(t.Context(), p, m, cps)
			time.Sleep(20 * time.Second)
			ended := <-took
			assert.True(t, ended > 0 && ended <= 10*time.Second, "%s: %v", how, ended)
			proc.set(false)
			assert.ErrorIs(t, r.end(), errStopped)
		}
	})
}

// T23: Runs come, go, are cut off and are killed between Apply and save, while
// writers write: each event counts exactly once, each stream in order. The
// reference is the store itself.
func TestGroupAgainstAModel(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			m, l := eventsource.NewMemory(), newLedger()
			p := balances(1 + rng.IntN(6))
			p.BatchSize, p.Lease = 1+rng.IntN(30), 10*time.Second
			var mu sync.Mutex
			dice := rand.New(rand.NewPCG(seed, 8))
			chance := func(n int) bool {
				mu.Lock()
				defer mu.Unlock()
				return dice.IntN(n) == 0
			}
			p.Apply = func(ctx context.Context, b eventsource.Batch) error {
				if err := write(ctx, b); err != nil {
					return err
				}
				switch {
				case chance(10):
					return errPoison
				case chance(10):
					time.Sleep(15 * time.Second) // longer than the lease
				case chance(20):
					<-ctx.Done()
					return context.Cause(ctx)
				}
				return nil
			}
			var procs []*process
			var runs []*running
			for range 150 {
				switch n := rng.IntN(10); {
				case n < 2 && len(runs) < 5 || len(runs) == 0:
					procs = append(procs, &process{Checkpoints: l})
					runs = append(runs, start(t.Context(), p, m, procs[len(procs)-1]))
				case n < 3:
					i := rng.IntN(len(runs))
					procs[i].set(false)
					runs[i].stop()
					runs, procs = slices.Delete(runs, i, i+1), slices.Delete(procs, i, i+1)
				case n < 5:
					procs[rng.IntN(len(procs))].set(rng.IntN(2) == 0)
				default:
					for range rng.IntN(20) {
						put(t, m, fmt.Sprint("s", rng.IntN(12)), deposited{1})
					}
				}
				time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
			}
			for _, proc := range procs {
				proc.set(false)
			}
			quiet := p
			quiet.Apply = write
			runs = append(runs, start(t.Context(), quiet, m, l))
			for _, r := range runs[:len(runs)-1] {
				assert.ErrorIs(t, r.end(), errStopped)
			}
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 12, 1)))
			assert.ErrorIs(t, runs[len(runs)-1].end(), errStopped)
			l.exactly(t, m, eventsource.All())
			assert.True(t, len(l.all()) > 300, len(l.all()))
		})
	}
}

func lastOf[T any](all []T, n int) []T { return all[max(0, len(all)-n):] }
