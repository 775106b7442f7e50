package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
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
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 1, 2)))
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

// A wrong call, such as InTx with the Checkpoints of another database, is not
// repeated for ever.
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

// T25: panic and Goexit in any of the user's functions. Run passes on the value
// itself, or says what happened; nothing of the batch is saved, the leases are
// free at once, and no goroutine is left (which the bubble checks).
func TestPanicAndGoexitLeaveNothingBehind(t *testing.T) {
	where := map[string]func(p *eventsource.Projection, crash func()){
		"Apply": func(p *eventsource.Projection, crash func()) {
			p.Apply = func(context.Context, eventsource.Batch) error { crash(); return nil }
		},
		"Key": func(p *eventsource.Projection, crash func()) {
			p.Key = func(eventsource.Recorded) string { crash(); return "" }
		},
		"Park": func(p *eventsource.Projection, crash func()) {
			p.MaxAttempts, p.Apply = 1, func(context.Context, eventsource.Batch) error { return errPoison }
			p.Park = func(context.Context, eventsource.Recorded, error) error { crash(); return nil }
		},
		"Backoff": func(p *eventsource.Projection, crash func()) {
			p.Apply = func(context.Context, eventsource.Batch) error { return errPoison }
			p.Backoff = func(int) time.Duration { crash(); return 0 }
		},
		"OnEvent": func(p *eventsource.Projection, crash func()) {
			p.Apply = func(context.Context, eventsource.Batch) error { return errPoison }
			p.OnEvent = func(eventsource.Progress) { crash() }
		},
	}
	for name, arm := range where {
		for kind, crash := range map[string]func(){"panic": func() { panic(errPoison) }, "Goexit": runtime.Goexit} {
			t.Run(name+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, l := eventsource.NewMemory(), newLedger()
					last := fill(t, m, 4, 10)
					p := balances(2)
					arm(&p, crash)
					r := start(t.Context(), p, m, l)
					<-r.done
					if kind == "panic" {
						assert.Same(t, errPoison, r.thrown)
					} else {
						require.Error(t, r.err)
						assert.Contains(t, r.err.Error(), "runtime.Goexit")
					}
					assert.Equal(t, 0, len(l.all()))

					begin := time.Now()
					r = start(t.Context(), balances(2), m, l)
					require.NoError(t, p.WaitFor(t.Context(), l, last))
					assert.True(t, time.Since(begin) < time.Second, "the leases were free")
					l.exactly(t, m, eventsource.All())
					assert.ErrorIs(t, r.end(), errStopped)
				})
			})
		}
	}
}

// T25: OnEvent also tells about the group, on Run's own goroutine.
func TestPanicOfOnEventAboutTheGroup(t *testing.T) {
	m := &hooked{Memory: eventsource.NewMemory(), onLoad: func(string) error { return errPoison }}
	p := balances(1)
	p.OnEvent = func(eventsource.Progress) { panic("no") }
	assert.Equal(t, "no", assert.Panics(t, func() { _ = p.Run(t.Context(), m, m) }))
}

// T25: when ctx ends so does Apply's, with its cause. An Apply that returns nil
// all the same has its batch saved, however long it takes; one that fails has
// not. The leases are free afterwards.
func TestCancelWhileApplyRuns(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, l := eventsource.NewMemory(), newLedger()
			last := fill(t, m, 1, 10)
			p := balances(1)
			p.Apply = func(ctx context.Context, b eventsource.Batch) error {
				<-ctx.Done()
				assert.Same(t, errStopped, context.Cause(ctx))
				time.Sleep(time.Hour)
				if fails {
					return context.Cause(ctx)
				}
				return write(ctx, b)
			}
			r := start(t.Context(), p, m, l)
			time.Sleep(time.Second)
			r.stop()
			// Another one waits for as long as Apply takes.
			second := balances(1)
			r2 := start(t.Context(), second, m, l)
			time.Sleep(30 * time.Minute)
			assert.Equal(t, 0, len(l.all()))
			<-r.done
			assert.ErrorIs(t, r.err, errStopped)
			if !fails {
				l.exactly(t, m, eventsource.All())
			}
			require.NoError(t, p.WaitFor(t.Context(), l, last))
			assert.ErrorIs(t, r2.end(), errStopped)
			l.exactly(t, m, eventsource.All())
		})
	}
}

// A store that hangs after ctx has ended holds Run for a Lease and no longer.
func TestStoreThatHangsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		fill(t, m, 1, 1)
		var hang atomic.Bool
		cps := hanging{m, &hang}
		p := balances(1)
		p.Lease = 9 * time.Second
		p.Apply = func(context.Context, eventsource.Batch) error { hang.Store(true); return nil }
		r := start(t.Context(), p, m, cps)
		time.Sleep(time.Second)
		begin := time.Now()
		assert.ErrorIs(t, r.end(), errStopped)
		assert.True(t, time.Since(begin) <= 2*p.Lease, time.Since(begin))
	})
}

type hanging struct {
	*eventsource.Memory
	hang *atomic.Bool
}

func (h hanging) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	return h.Memory.SaveCheckpoint(ctx, name, old, new, func(context.Context) error {
		if apply != nil {
			if err := apply(ctx); err != nil {
				return err
			}
		}
		if h.hang.Load() {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	})
}
