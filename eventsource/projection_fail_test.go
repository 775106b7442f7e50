package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/wiring"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

var errPoison = errors.New("poison")

// poisoned is an Apply that fails while the batch holds the position.
func poisoned(at eventsource.Position) func(context.Context, eventsource.Batch) error {
	return func(ctx context.Context, b eventsource.Batch) error {
		if slices.Contains(positions(b.Events), at) {
			return errPoison
		}
		return write(ctx, b)
	}
}

// T24: one poison event. Park sees exactly that one, after MaxAttempts, and all
// others are applied, in order.
func TestParkTakesExactlyThePoison(t *testing.T) {
	for _, c := range []struct{ partitions, batch int }{{1, 512}, {1, 1}, {3, 10}} {
		synctest.Test(t, func(t *testing.T) {
			m, l := eventsource.NewMemory(), newLedger()
			fill(t, m, 6, 50)
			const poison = 100
			p := balances(c.partitions)
			p.BatchSize, p.MaxAttempts, p.Apply = c.batch, 3, poisoned(poison)
			var parked []eventsource.Recorded
			var steps log
			p.OnEvent = steps.add
			p.Park = func(_ context.Context, r eventsource.Recorded, err error) error {
				assert.Same(t, errPoison, err)
				if parked = append(parked, r); len(parked) < 3 {
					return errors.New("the dead letter table is down") // one more failure
				}
				return nil
			}
			r := start(t.Context(), p, m, l)
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 6, 1)))
			assert.ErrorIs(t, r.end(), errStopped)
			require.Equal(t, 3, len(parked))
			all := read(t, m, eventsource.All())
			assert.Equal(t, all[poison-1], parked[2])
			assert.Equal(t, len(all)-1, len(l.all()))
			assert.False(t, slices.Contains(positions(l.all()), poison))
			n := 0
			for _, s := range steps.all() {
				n += s.Parked
			}
			assert.Equal(t, 1, n)
		})
	}
}

// T24: without Park a poison event is tried for ever, while other partitions go
// on.
func TestPoisonHoldsItsPartitionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		p := balances(4)
		p.BatchSize, p.Apply = 20, poisoned(1)
		stuck := eventsource.Partition("s0", 4)
		var free eventsource.Query
		for k := range 8 {
			if s := fmt.Sprint("s", k); eventsource.Partition(s, 4) != stuck {
				free = append(free, eventsource.Stream(s)...)
			}
		}
		require.True(t, len(free) >= 4)
		r := start(t.Context(), p, m, l)
		for range 3 {
			fill(t, m, 8, 3000) // beyond the ring
			time.Sleep(time.Hour)
		}
		l.exactly(t, m, free)
		assert.ErrorIs(t, r.end(), errStopped)
	})
}

// Backoff is asked with 1, 2, 3 ..., anew after each success.
func TestBackoffCountsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		var asked []int
		p := balances(1)
		p.Backoff = func(n int) time.Duration { asked = append(asked, n); return time.Second }
		fails := 3
		p.Apply = func(ctx context.Context, b eventsource.Batch) error {
			b.Events[0].Stream, b.Events[0].Data = "spoilt", nil // the next attempt gets other copies
			if fails--; fails >= 0 {
				return errPoison
			}
			fails = 3
			for _, r := range b.Events[1:] {
				assert.Equal(t, "s0", r.Stream)
			}
			return nil
		}
		var steps log
		p.OnEvent = steps.add
		r := start(t.Context(), p, m, l)
		for range 2 {
			begin := time.Now()
			last := put(t, m, "s0", deposited{1}, deposited{2}).Last // at once: one batch
			require.NoError(t, p.WaitFor(t.Context(), l, last))
			assert.True(t, time.Since(begin) >= 3*time.Second)
		}
		assert.Equal(t, []int{1, 2, 3, 1, 2, 3}, asked)
		assert.ErrorIs(t, r.end(), errStopped)
		assert.Equal(t, eventsource.Progress{Projection: "balances", Attempt: 2, Head: 2, Err: errPoison}, steps.all()[1])
		assert.Equal(t, eventsource.Progress{Projection: "balances", Events: 2, Through: 2, Head: 2}, steps.all()[3])
	})
}

// An attempt gets events that no attempt before has changed.
func TestEachAttemptGetsFreshCopies(t *testing.T) {
	for _, partitions := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			m, l := eventsource.NewMemory(), newLedger()
			last := fill(t, m, 4, 20)
			p := balances(partitions)
			p.MaxAttempts, p.Park = 2, func(_ context.Context, r eventsource.Recorded, _ error) error {
				assert.NotEqual(t, "spoilt", r.Stream)
				return nil
			}
			p.Apply = func(ctx context.Context, b eventsource.Batch) error {
				err := poisoned(40)(ctx, b)
				for i := range b.Events {
					assert.NotEqual(t, "spoilt", b.Events[i].Stream)
					if err != nil {
						b.Events[i].Stream = "spoilt"
						clear(b.Events[i].Data)
					}
				}
				return err
			}
			r := start(t.Context(), p, m, l)
			require.NoError(t, p.WaitFor(t.Context(), l, last))
			assert.ErrorIs(t, r.end(), errStopped)
			all := read(t, m, eventsource.All())
			for _, row := range l.all() {
				assert.Equal(t, all[row.Position-1], row)
			}
			assert.Equal(t, len(all)-1, len(l.all()))
		})
	}
}

func TestPoisonWithoutParkEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		last := fill(t, m, 6, 50)
		p := balances(3)
		p.MaxAttempts, p.Apply = 2, poisoned(100)
		err := p.Run(t.Context(), m, l)
		assert.ErrorIs(t, err, errPoison)
		assert.Contains(t, err.Error(), "position 100")
		p.Apply = write // deployed anew
		r := start(t.Context(), p, m, l)
		require.NoError(t, p.WaitFor(t.Context(), l, last))
		l.exactly(t, m, eventsource.All())
		assert.ErrorIs(t, r.end(), errStopped)
	})
}

// Without Park a wrong call is not repeated for ever.
func TestInvalidFromApplyEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		fill(t, m, 1, 1)
		p := balances(1)
		p.Apply = func(context.Context, eventsource.Batch) error {
			return fmt.Errorf("%w: wired wrongly", eventsource.ErrInvalid)
		}
		assert.ErrorIs(t, p.Run(t.Context(), m, m), eventsource.ErrInvalid)
	})
}

// A program that is put together wrongly, such as InTx without its Store as
// Checkpoints, fails on every event. None is parked for it.
func TestWrongWiringEndsRunAndParksNothing(t *testing.T) {
	for _, batch := range []int{1, 512} {
		synctest.Test(t, func(t *testing.T) {
			m := eventsource.NewMemory()
			fill(t, m, 1, 3)
			p := balances(1)
			p.BatchSize, p.MaxAttempts = batch, 2
			p.Park = func(_ context.Context, r eventsource.Recorded, _ error) error {
				t.Error("parked: ", r.Position)
				return nil
			}
			p.Apply = func(context.Context, eventsource.Batch) error {
				return fmt.Errorf("apply: %w", &wiring.Error{Err: fmt.Errorf("%w: no transaction", eventsource.ErrInvalid)})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := p.Run(ctx, m, m)
			assert.ErrorIs(t, err, eventsource.ErrInvalid)
			assert.Contains(t, err.Error(), "no transaction")
			cp, err := m.LoadCheckpoint(t.Context(), "projection/balances@1/0")
			require.NoError(t, err)
			assert.Equal(t, eventsource.Position(0), cp.Position)
		})
	}
}

// T22: a store with transactions learns within Apply that it is fenced. That is
// no failure of the events.
func TestFencedWithinApplyIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		last := fill(t, m, 1, 3)
		p := balances(1)
		p.MaxAttempts = 1
		var steps log
		p.OnEvent = steps.add
		first := true
		p.Apply = func(ctx context.Context, b eventsource.Batch) error {
			if !first {
				return write(ctx, b)
			}
			first = false
			const name = "projection/balances@1/0"
			now, err := l.LoadCheckpoint(ctx, name)
			assert.NoError(t, err)
			assert.NoError(t, l.Checkpoints.SaveCheckpoint(ctx, name, now, eventsource.Checkpoint{Epoch: now.Epoch + 1}, nil))
			return fmt.Errorf("commit: %w", eventsource.ErrFenced)
		}
		r := start(t.Context(), p, m, l)
		require.NoError(t, p.WaitFor(t.Context(), l, last))
		l.exactly(t, m, eventsource.All())
		assert.ErrorIs(t, r.end(), errStopped)
		assert.ErrorIs(t, steps.all()[0].Err, eventsource.ErrFenced)
		assert.Equal(t, 2, len(steps.all()))
	})
}

// An outage of the database that Apply writes to parks nothing.
func TestOutageParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		proc := &process{Checkpoints: l}
		p := balances(2)
		p.MaxAttempts = 2
		p.Park = func(_ context.Context, r eventsource.Recorded, _ error) error {
			t.Error("parked: ", r.Position)
			return nil
		}
		p.Apply = func(ctx context.Context, b eventsource.Batch) error {
			if err := proc.ready(); err != nil {
				return err
			}
			return write(ctx, b)
		}
		r := start(t.Context(), p, m, proc)
		for range 20 {
			proc.set(true)
			fill(t, m, 4, 3)
			time.Sleep(7 * time.Second)
			proc.set(false)
			time.Sleep(5 * time.Second)
		}
		require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 4, 1)))
		l.exactly(t, m, eventsource.All())
		assert.ErrorIs(t, r.end(), errStopped)
	})
}
