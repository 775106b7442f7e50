package eventsource_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

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

// T25: the store sees a panic of Apply as an error, and so undoes what it began.
func TestPanicReachesTheStoreAsAnError(t *testing.T) {
	m := eventsource.NewMemory()
	fill(t, m, 1, 1)
	var seen error
	p := balances(1)
	p.Apply = func(context.Context, eventsource.Batch) error { panic("no") }
	assert.Equal(t, "no", assert.Panics(t, func() { _ = p.Run(t.Context(), m, watched{m, &seen}) }))
	require.Error(t, seen)
	assert.Contains(t, seen.Error(), "TestPanicReachesTheStoreAsAnError", "where it happened")
}

type watched struct {
	*eventsource.Memory
	seen *error
}

func (w watched) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	err := w.Memory.SaveCheckpoint(ctx, name, old, new, apply)
	if apply != nil {
		*w.seen = err
	}
	return err
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
