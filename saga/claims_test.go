package saga_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// T15: processes that live and lose their leases, far more often than ten times, make
// no saga Stuck, though none of them writes anything.
func TestLostLeasesOfTheLivingAreNoDeaths(t *testing.T) {
	for _, processes := range []int{1, 2, 6} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, store := &world{}, saga.NewMemory()
				var calm atomic.Bool
				step := saga.Step[state]{Name: "long", Timeout: -1, Do: func(ctx context.Context, _ *state) error {
					w.note(ctx)
					if !calm.Load() {
						<-ctx.Done()
					}
					return context.Cause(ctx)
				}}
				lines := map[string]*wire{}
				var s *saga.Saga[state]
				var b *bench
				for i := range processes {
					name := fmt.Sprint("p", i)
					lines[name] = &wire{Store: store}
					b = serve(t, lines[name], saga.Config{Name: name})
					s = register(t, b.c, saga.Definition[state]{Name: "order", Steps: []saga.Step[state]{step}})
				}
				require.NoError(t, s.Start(t.Context(), "1", state{}))
				const losses = 60
				for range losses {
					time.Sleep(3 * time.Second)
					name, _, _ := strings.Cut(b.summary("1").Owner, "-")
					require.True(t, lines[name] != nil, b.summary("1").State.String())
					lines[name].cut.Store(true)
					time.Sleep(12 * time.Second)
					lines[name].cut.Store(false)
				}
				assert.True(t, w.count("long") >= losses, w.trace())
				calm.Store(true)
				time.Sleep(3 * time.Second)
				for _, line := range lines {
					line.cut.Store(true)
				}
				time.Sleep(12 * time.Second)
				for _, line := range lines {
					line.cut.Store(false)
				}
				_, err := s.Wait(within(t, time.Hour), "1")
				require.NoError(t, err)
				assert.Equal(t, "start done:long", b.history("1"))
			})
		})
	}
}

// slack is a store that is slow after a claim: it loads nothing, or answers too late.
type slack struct {
	*wire
	late   bool
	known  map[string]bool
	claims int
}

func (s *slack) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	if !s.known[l.Owner] { // the first look renews the lease
		s.known[l.Owner] = true
		l.Limit = 0
	}
	work, err := s.wire.Poll(ctx, l)
	if len(work.Claimed) == 0 || s.claims == 30 {
		return work, err
	}
	s.claims++
	if s.late {
		time.Sleep(11 * time.Second)
		return work, err
	}
	s.cut.Store(true)
	time.AfterFunc(12*time.Second, func() { s.cut.Store(false) })
	return work, err
}

func (s *slack) Load(ctx context.Context, id string) (saga.Summary, []saga.Record, []saga.Record, error) {
	if s.cut.Load() {
		return saga.Summary{}, nil, nil, errWire
	}
	return s.wire.Load(ctx, id)
}

// T15: nor do leases that are lost before a call begins.
func TestLeasesLostBeforeTheCallAreNoDeaths(t *testing.T) {
	for name, late := range map[string]bool{"the claim is told too late": true, "the log is not loaded in time": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, store := &world{}, saga.NewMemory()
				outside, err := saga.New(store, saga.Config{})
				require.NoError(t, err)
				s := register(t, outside, chain(w, w.step("pay", nil)))
				require.NoError(t, s.Start(t.Context(), "1", state{}))
				line := &slack{wire: &wire{Store: store}, late: late, known: map[string]bool{}}
				b := serve(t, line, saga.Config{})
				register(t, b.c, chain(w, w.step("pay", nil)))
				_, err = s.Wait(within(t, time.Hour), "1")
				require.NoError(t, err)
				assert.Equal(t, 30, line.claims)
				assert.Equal(t, "pay", w.trace())
			})
		})
	}
}

// T15: a call that costs its process the lease first, and ends it then, is found out
// like any other: a process that lives with such a call has not outlived it.
func TestLostLeaseBeforeADeathIsADeath(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store, end := &world{}, saga.NewMemory(), make(chan struct{})
		defer close(end)
		for i := range 12 {
			line := &wire{Store: store}
			b := serve(t, line, saga.Config{})
			s := register(t, b.c, chain(w, w.step("boom", func(saga.Call) error {
				line.cut.Store(true)
				time.Sleep(12 * time.Second)
				line.cut.Store(false) // the process claims the saga again
				time.Sleep(10 * time.Second)
				line.cut.Store(true)
				<-end
				return nil
			})))
			synctest.Wait()
			if i == 0 {
				require.NoError(t, s.Start(t.Context(), "1", state{}))
			}
			time.Sleep(time.Minute)
		}
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("boom", nil)))
		_, err := s.Wait(within(t, time.Hour), "1")
		assert.Equal(t, "claims", asError(t, err).Code)
		assert.Equal(t, 6, w.count("boom"), "Start's own run, and one of two claims each")
	})
}
