package eventsource_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// sole is Checkpoints that one process alone has open.
type sole struct {
	process

	name string
}

func (s *sole) Incarnation() (string, eventsource.Checkpoints) { return s.name, s }

// slice can be compared with nothing.
type slice []*sole

func (s slice) LoadCheckpoint(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	return s[0].LoadCheckpoint(ctx, name)
}

func (s slice) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	return s[0].SaveCheckpoint(ctx, name, old, new, apply)
}

func (s slice) Incarnation() (string, eventsource.Checkpoints) { return s[0].name, s }

// Only Checkpoints that speak for themselves, and have another name by now, spare a
// projection the wait for whoever said no good-bye.
func TestWhoIsSaidToBeDeadIsNotWaitedFor(t *testing.T) {
	const lease = time.Minute
	for what, c := range map[string]struct {
		wrap func(s *sole) eventsource.Checkpoints
		name string
		wait bool
	}{
		"another name":  {name: "second"},
		"the same name": {name: "first", wait: true},
		"no name":       {wait: true},
		"embedded":      {name: "second", wrap: func(s *sole) eventsource.Checkpoints { return struct{ *sole }{s} }, wait: true},
		"no comparison": {name: "second", wrap: func(s *sole) eventsource.Checkpoints { return slice{s} }, wait: true},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := eventsource.NewMemory()
				p := eventsource.Projection{
					Name: "p", Query: eventsource.All(), Lease: lease,
					Apply: func(context.Context, eventsource.Batch) error { return nil },
				}
				dead := &sole{process: process{Checkpoints: m}, name: "first"}
				first := start(t.Context(), p, m, dead)
				require.NoError(t, p.WaitFor(t.Context(), dead, fill(t, m, 1, 1)))
				dead.set(true)
				assert.ErrorIs(t, first.end(), errStopped)

				next := &sole{process: process{Checkpoints: m}, name: c.name}
				cps := eventsource.Checkpoints(next)
				if c.wrap != nil {
					cps = c.wrap(next)
				}
				begun := time.Now()
				second := start(t.Context(), p, m, cps)
				require.NoError(t, p.WaitFor(t.Context(), next, fill(t, m, 1, 1)))
				assert.Equal(t, c.wait, time.Since(begun) >= lease)
				assert.ErrorIs(t, second.end(), errStopped)
			})
		})
	}
}

// Who lives is not robbed by who comes later, under the same name.
func TestOneIncarnationMayHaveManyRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		cps := &sole{process: process{Checkpoints: m}, name: "only"}
		fill(t, m, 1, 1)
		var busy atomic.Int32
		p := eventsource.Projection{
			Name: "p", Query: eventsource.All(), Lease: time.Minute,
			Apply: func(context.Context, eventsource.Batch) error {
				assert.Equal(t, int32(1), busy.Add(1))
				time.Sleep(10 * time.Minute)
				busy.Add(-1)
				return nil
			},
		}
		first := start(t.Context(), p, m, cps)
		synctest.Wait()
		second := start(t.Context(), p, m, cps)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, int32(1), busy.Load())
		time.Sleep(10 * time.Minute)
		fill(t, m, 1, 1)
		time.Sleep(20 * time.Minute)
		assert.ErrorIs(t, first.end(), errStopped)
		assert.ErrorIs(t, second.end(), errStopped)
	})
}
