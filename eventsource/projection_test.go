package eventsource_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func balances(partitions int) eventsource.Projection {
	return eventsource.Projection{Name: "balances", Query: eventsource.All(), Partitions: partitions, Apply: write}
}

func TestRunAppliesHistoryThenLiveAndResumes(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			m, l := eventsource.NewMemory(), newLedger()
			p := balances(partitions)
			last := fill(t, m, 10, 120)
			r := start(t.Context(), p, m, l)
			require.NoError(t, p.WaitFor(t.Context(), l, last))
			l.exactly(t, m, eventsource.All())
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 10, 1)))
			l.exactly(t, m, eventsource.All())
			err := r.end()
			assert.ErrorIs(t, err, errStopped)
			assert.Contains(t, err.Error(), "projection balances")

			last = fill(t, m, 10, 1)
			r = start(t.Context(), p, m, l)
			start := time.Now()
			require.NoError(t, p.WaitFor(t.Context(), l, last))
			assert.True(t, time.Since(start) < time.Second, "leases had been given back")
			l.exactly(t, m, eventsource.All())
			assert.ErrorIs(t, r.end(), errStopped)
		})
	}
}

func TestRunRefusesWhatCannotWork(t *testing.T) {
	m := eventsource.NewMemory()
	for name, change := range map[string]func(*eventsource.Projection){
		"Name":        func(p *eventsource.Projection) { p.Name = "" },
		"Apply":       func(p *eventsource.Projection) { p.Apply = nil },
		"Version":     func(p *eventsource.Projection) { p.Version = -1 },
		"Partitions":  func(p *eventsource.Projection) { p.Partitions = -1 },
		"BatchSize":   func(p *eventsource.Projection) { p.BatchSize = -1 },
		"MaxAttempts": func(p *eventsource.Projection) { p.MaxAttempts = -1 },
		"Lease":       func(p *eventsource.Projection) { p.Lease = -1 },
	} {
		p := balances(1)
		change(&p)
		err := p.Run(t.Context(), m, m)
		assert.ErrorIs(t, err, eventsource.ErrInvalid)
		assert.Contains(t, err.Error(), "Projection."+name)
	}
}

func TestPartitionsAreFixedPerVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		p := balances(2)
		p.Apply = func(context.Context, eventsource.Batch) error { return nil }
		r := start(t.Context(), p, m, m)
		synctest.Wait()
		other := p
		other.Partitions = 3
		assert.ErrorIs(t, other.Run(t.Context(), m, m), eventsource.ErrInvalid)
		assert.ErrorIs(t, other.WaitFor(t.Context(), m, 0), eventsource.ErrInvalid)
		other.Version = 2
		r2 := start(t.Context(), other, m, m)
		require.NoError(t, other.WaitFor(t.Context(), m, 0))
		assert.ErrorIs(t, r.end(), errStopped)
		assert.ErrorIs(t, r2.end(), errStopped)
	})
}

// Golden: the names and the bytes of what a group keeps.
func TestRecordsAreFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		put(t, m, "account-7", deposited{1}, deposited{2}, deposited{3})
		group := eventsource.Checkpoint{Position: 2, Epoch: 9, Data: []byte(`{"partitions":2,"members":[],"owners":["",""]}`)}
		require.NoError(t, m.SaveCheckpoint(t.Context(), "projection/balances@1", eventsource.Checkpoint{}, group, nil))
		require.NoError(t, m.SaveCheckpoint(t.Context(), "projection/balances@1/0", eventsource.Checkpoint{}, eventsource.Checkpoint{Position: 1, Epoch: 4}, nil))
		var replayed []bool
		p := balances(2)
		p.BatchSize = 1
		p.Apply = func(_ context.Context, b eventsource.Batch) error { replayed = append(replayed, b.Replay); return nil }
		r := start(t.Context(), p, m, m)
		synctest.Wait()
		assert.Equal(t, []bool{true, false}, replayed, "the stream is of partition 0, which goes on after 1")
		cp, err := m.LoadCheckpoint(t.Context(), "projection/balances@1")
		require.NoError(t, err)
		assert.Equal(t, eventsource.Position(2), cp.Position)
		cp0, err := m.LoadCheckpoint(t.Context(), "projection/balances@1/0")
		require.NoError(t, err)
		id := string(cp0.Data)
		assert.Equal(t, 16, len(id))
		assert.Equal(t, `{"partitions":2,"members":[{"id":"`+id+`","beat":1}],"owners":["`+id+`","`+id+`"]}`, string(cp.Data))
		assert.Equal(t, []uint64{10, 5}, []uint64{cp.Epoch, cp0.Epoch})
		assert.ErrorIs(t, r.end(), errStopped)
		cp, err = m.LoadCheckpoint(t.Context(), "projection/balances@1")
		require.NoError(t, err)
		assert.Equal(t, `{"partitions":2,"members":[],"owners":["",""]}`, string(cp.Data))
	})
}

// T21: a range without matches moves the checkpoint, at most ten times a second
// and at the end, and Apply is not bothered.
func TestRangeWithoutMatchesMovesTheCheckpoint(t *testing.T) {
	for _, partitions := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			m := eventsource.NewMemory()
			saves := 0
			cps := &hooked{Memory: m, onSave: func(name string) error {
				if name == "projection/balances@1/0" {
					saves++
				}
				return nil
			}}
			p := balances(partitions)
			p.Query = eventsource.Stream("nothing")
			p.Apply = func(context.Context, eventsource.Batch) error { t.Error("Apply is called"); return nil }
			var l log
			p.OnEvent = l.add
			r := start(t.Context(), p, m, cps)
			for range 1000 {
				fill(t, m, 1, 1)
				time.Sleep(time.Millisecond)
			}
			synctest.Wait() // no save is under way
			assert.True(t, saves >= 9 && saves <= 11, saves)
			require.NoError(t, p.WaitFor(t.Context(), m, 1000))
			last := fill(t, m, 1, 1)
			time.Sleep(time.Millisecond)
			assert.ErrorIs(t, r.end(), errStopped)
			require.NoError(t, p.WaitFor(t.Context(), m, last), "saved at the end")
			for _, step := range l.all() {
				assert.NoError(t, step.Err)
				assert.Equal(t, 0, step.Events)
			}
		})
	}
}

// T21: a database that restarts does not end Run.
func TestRunOutlivesTheDatabase(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			m, l := &hooked{Memory: eventsource.NewMemory()}, newLedger()
			var down atomic.Bool
			errDown := errors.New("database is down")
			fails := func() error {
				if down.Load() {
					return errDown
				}
				return nil
			}
			failsFor := func(string) error { return fails() }
			m.onHead = fails
			l.Checkpoints = &hooked{Memory: eventsource.NewMemory(), onLoad: failsFor, onSave: failsFor}
			p := balances(partitions)
			var steps log
			p.OnEvent = steps.add
			down.Store(true) // already when it begins
			r := start(t.Context(), p, m, l)
			time.Sleep(time.Minute)
			assert.ErrorIs(t, steps.all()[0].Err, errDown)
			assert.Equal(t, -1, steps.all()[0].Partition)
			for range 5 {
				down.Store(false)
				require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 5, 10)))
				down.Store(true)
				fill(t, m, 5, 10)
				time.Sleep(time.Minute)
			}
			down.Store(false)
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 5, 10)))
			l.exactly(t, m, eventsource.All())
			assert.ErrorIs(t, r.end(), errStopped)
		})
	}
}

func TestErrorsThatEndRun(t *testing.T) {
	for _, final := range []error{eventsource.ErrClosed, eventsource.ErrCorrupt, eventsource.ErrInvalid} {
		synctest.Test(t, func(t *testing.T) {
			m := &hooked{Memory: eventsource.NewMemory()}
			p := balances(1)
			r := start(t.Context(), p, m, newLedger())
			synctest.Wait()
			m.onHead = func() error { return final }
			fill(t, m, 1, 1)
			<-r.done
			assert.ErrorIs(t, r.err, final)
		})
	}
}

// A restored backup is shorter than the checkpoint says.
func TestCheckpointBeyondHeadIsCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		p := balances(1)
		r := start(t.Context(), p, m, l)
		require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 1, 5)))
		assert.ErrorIs(t, r.end(), errStopped)
		restored := eventsource.NewMemory()
		fill(t, restored, 1, 3)
		err := p.Run(t.Context(), restored, l)
		assert.ErrorIs(t, err, eventsource.ErrCorrupt)
		assert.Contains(t, err.Error(), "projection/balances@1/0 is at position 5, Head at 3")
	})
}

// A new Version starts over beside the old one, and both go on.
func TestVersionsRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, blue, green := eventsource.NewMemory(), newLedger(), newLedger()
		green.Checkpoints = blue.Checkpoints
		p := balances(2)
		rb := start(t.Context(), p, m, blue)
		last := fill(t, m, 4, 200)
		require.NoError(t, p.WaitFor(t.Context(), blue, last))
		p2 := p
		p2.Version, p2.Partitions = 2, 1
		var replayed, live int
		p2.Apply = func(ctx context.Context, b eventsource.Batch) error {
			if b.Replay {
				replayed += len(b.Events)
				assert.True(t, b.Through <= last, "a batch straddles the end of Replay")
			} else {
				live += len(b.Events)
			}
			return write(ctx, b)
		}
		rg := start(t.Context(), p2, m, green)
		synctest.Wait()
		again := fill(t, m, 4, 5)
		require.NoError(t, p2.WaitFor(t.Context(), green, again))
		require.NoError(t, p.WaitFor(t.Context(), blue, again))
		assert.Equal(t, []int{800, 20}, []int{replayed, live})
		blue.exactly(t, m, eventsource.All())
		green.exactly(t, m, eventsource.All())
		assert.ErrorIs(t, rb.end(), errStopped)
		assert.ErrorIs(t, rg.end(), errStopped)
	})
}

// T23: Replay ends where the first run recorded it, whoever runs later.
func TestReplayEndsWhereItWasRecorded(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			m, l := eventsource.NewMemory(), newLedger()
			end := fill(t, m, 8, 100)
			p := balances(partitions)
			p.BatchSize = 7
			var n atomic.Int64
			p.Apply = func(ctx context.Context, b eventsource.Batch) error {
				assert.Equal(t, b.Through <= end, b.Replay)
				for _, r := range b.Events {
					assert.Equal(t, r.Position <= end, b.Replay)
				}
				if n.Add(1)%5 == 0 {
					time.Sleep(time.Second)
				}
				return write(ctx, b)
			}
			for range 10 { // it is ended amid the replay, while more comes
				r := start(t.Context(), p, m, l)
				time.Sleep(4 * time.Second)
				fill(t, m, 8, 5)
				assert.ErrorIs(t, r.end(), errStopped)
			}
			r := start(t.Context(), p, m, l)
			require.NoError(t, p.WaitFor(t.Context(), l, fill(t, m, 1, 1)))
			l.exactly(t, m, eventsource.All())
			assert.ErrorIs(t, r.end(), errStopped)
		})
	}
}

func TestFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		fill(t, m, 1, 10)
		p := balances(1)
		p.From = 15 // as the Last of an append above a Head that is held back
		r := start(t.Context(), p, m, l)
		require.NoError(t, p.WaitFor(t.Context(), l, 15))
		fill(t, m, 1, 10)
		require.NoError(t, p.WaitFor(t.Context(), l, 20))
		assert.Equal(t, []eventsource.Position{16, 17, 18, 19, 20}, positions(l.all()))
		assert.ErrorIs(t, r.end(), errStopped)
	})
}

func TestWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := eventsource.NewMemory(), newLedger()
		p := balances(2)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errStopped)
		defer cancel()
		begin := time.Now()
		err := p.WaitFor(ctx, l, 0)
		assert.ErrorIs(t, err, errStopped, "a missing checkpoint is not there yet, even for 0")
		assert.Equal(t, time.Hour, time.Since(begin))
		group := eventsource.Checkpoint{Epoch: 1, Data: []byte(`{"partitions":2,"members":[],"owners":["",""]}`)}
		require.NoError(t, l.SaveCheckpoint(t.Context(), "projection/balances@1", eventsource.Checkpoint{}, group, nil))
		ctx2, cancel2 := context.WithTimeoutCause(t.Context(), time.Hour, errStopped)
		defer cancel2()
		assert.ErrorIs(t, p.WaitFor(ctx2, l, 0), errStopped, "the group is there, and its partitions are not")

		p.Apply = func(ctx context.Context, b eventsource.Batch) error { time.Sleep(time.Minute); return write(ctx, b) }
		r := start(t.Context(), p, m, l)
		last := fill(t, m, 1, 1)
		begin = time.Now()
		require.NoError(t, p.WaitFor(t.Context(), l, last))
		took := time.Since(begin)
		assert.True(t, took >= time.Minute && took <= time.Minute+51*time.Millisecond, took)
		l.exactly(t, m, eventsource.All())
		assert.ErrorIs(t, p.WaitFor(t.Context(), &hooked{Memory: m, onLoad: func(string) error { return errStopped }}, 0), errStopped)
		assert.ErrorIs(t, r.end(), errStopped)
	})
}

// A store in the process says when a checkpoint has moved: no poll in between.
func TestWaitForIsToldByMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		p := balances(1)
		p.Apply = func(context.Context, eventsource.Batch) error {
			time.Sleep(time.Second + 777*time.Microsecond)
			return nil
		}
		r := start(t.Context(), p, m, m)
		last := fill(t, m, 1, 1)
		begin := time.Now()
		require.NoError(t, p.WaitFor(t.Context(), m, last))
		assert.Equal(t, time.Second+777*time.Microsecond, time.Since(begin))
		assert.ErrorIs(t, r.end(), errStopped)
	})
}
