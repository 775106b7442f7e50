package breaker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestEventsTellTheStory(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{Name: "users", Consecutive: 2, OnEvent: j.add})
		b.SetRandom(func() float64 { return 0 })
		calls(t, b, 3, nil)
		calls(t, b, 2, errDown)
		time.Sleep(6 * time.Second)
		calls(t, b, 1, nil)
		evs := j.all()
		require.Equal(t, []string{"consecutive", "timer", "recovered"}, j.reasons())
		state := breaker.Closed
		for i, ev := range evs {
			assert.Equal(t, uint64(i+1), ev.Seq)
			assert.Equal(t, "users", ev.Name)
			assert.Equal(t, state, ev.From)
			assert.Equal(t, state, ev.Stats.State, "the statistics are those before the change")
			state = ev.To
		}
		assert.Same(t, errDown, evs[0].Cause)
		assert.Equal(t, 5*time.Second, evs[0].OpenFor)
		assert.Equal(t, uint64(5), evs[0].Stats.Calls)
		assert.Equal(t, uint64(2), evs[0].Stats.Failures)
		assert.Equal(t, time.Now(), evs[1].At)
	})
}

// T20: a callback may call every method of its breaker.
func TestCallbackMayCallTheBreaker(t *testing.T) {
	in(t, func(t *testing.T) {
		var b *breaker.Breaker
		var reasons []string
		b = breaker.New(breaker.Config{Consecutive: 1, OnEvent: func(ev breaker.Event) {
			reasons = append(reasons, ev.Reason)
			if len(reasons) > 1 {
				return
			}
			_, _, _ = b.Stats(), b.State(), b.Idle()
			_ = call(b, nil)
			b.Reset()
			b.Trip(time.Second, nil)
			b.Hold(breaker.Closed)()
			assert.Equal(t, []string{"consecutive"}, reasons, "re-entry only queues")
		}})
		calls(t, b, 1, errDown)
		assert.Equal(t, []string{"consecutive", "reset", "trip", "hold", "release"}, reasons)
	})
}

// T20: while a callback blocks no call is held up, the queue is bounded, and
// what was dropped shows as a gap.
func TestBlockedCallbackHoldsUpNobody(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		release := make(chan struct{})
		b := breaker.New(breaker.Config{OnEvent: func(ev breaker.Event) {
			<-release
			j.add(ev)
		}})
		go b.Trip(time.Hour, nil)
		synctest.Wait()
		for range 100 { // 200 events
			b.Reset()
			b.Trip(time.Hour, nil)
			refused(t, b, "open")
		}
		assert.Equal(t, 128, b.Queued())
		close(release)
		synctest.Wait()
		evs := j.all()
		require.Equal(t, 129, len(evs))
		assert.Equal(t, uint64(1), evs[0].Seq)
		for i, ev := range evs[1:] {
			require.Equal(t, uint64(201-128+1+i), ev.Seq)
		}
	})
}

// T20: a callback that panics or exits does not keep the rest of the events
// from anybody, and not the probe either.
func TestCallbackThatPanicsOrExits(t *testing.T) {
	ways := map[string]struct {
		end  func()
		want any
	}{
		"panics": {func() { panic("callback") }, "callback"},
		"exits":  {runtime.Goexit, nil},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				var j journal
				var b *breaker.Breaker
				b = breaker.New(breaker.Config{OnEvent: func(ev breaker.Event) {
					j.add(ev)
					if ev.Reason == "timer" {
						b.Hold(breaker.Closed)() // queues two more
						way.end()
					}
				}})
				half(t, b)
				assert.Equal(t, way.want, inGoroutine(func() { _, _ = b.Allow(t.Context()) }))
				assert.Equal(t, []string{"trip", "timer", "hold", "release"}, j.reasons())

				b = breaker.New(breaker.Config{OnEvent: func(ev breaker.Event) {
					if ev.Reason == "timer" {
						way.end()
					}
				}})
				half(t, b)
				inGoroutine(func() { _, _ = b.Allow(t.Context()) })
				assert.Equal(t, 0, b.Stats().Probes)
				assert.NoError(t, call(b, nil))
				assert.Equal(t, breaker.Closed, b.State())
			})
		})
	}
}

// T20: each event is delivered once and in order, whoever delivers it.
func TestEventsAreDeliveredOnceAndInOrder(t *testing.T) {
	var seqs []uint64 // not guarded: deliveries never overlap
	b := breaker.New(breaker.Config{OnEvent: func(ev breaker.Event) { seqs = append(seqs, ev.Seq) }})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 30 {
				b.Trip(time.Hour, nil)
				b.Reset()
			}
		})
	}
	wg.Wait()
	b.Hold(breaker.Open)()
	require.True(t, len(seqs) > 2)
	for i, seq := range seqs[1:] {
		require.True(t, seq > seqs[i], "%d after %d", seq, seqs[i])
	}
}

func TestLoggerGetsEventsFirst(t *testing.T) {
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	b := breaker.New(breaker.Config{
		Name: "users", Logger: slog.New(h),
		OnEvent: func(breaker.Event) { out.WriteString("event\n") },
	})
	b.Trip(time.Minute, errDown)
	b.Reset()
	assert.Equal(t, strings.Join([]string{
		`level=WARN msg="breaker: open" name=users from=closed to=open reason=trip open_for=1m0s cause=down`,
		`event`,
		`level=INFO msg="breaker: closed" name=users from=open to=closed reason=reset`,
		`event`,
		``,
	}, "\n"), out.String())
}

// T20: a logger that panics keeps no event from OnEvent.
func TestLoggerThatPanicsKeepsNoEventFromOnEvent(t *testing.T) {
	var j journal
	b := breaker.New(breaker.Config{OnEvent: j.add, Logger: slog.New(brokenHandler{slog.DiscardHandler})})
	assert.Equal(t, "handler", assert.Panics(t, func() { b.Trip(time.Hour, nil) }))
	assert.Equal(t, []string{"trip"}, j.reasons())
}

type brokenHandler struct{ slog.Handler }

func (brokenHandler) Enabled(context.Context, slog.Level) bool { panic("handler") }

func TestEventAsJSON(t *testing.T) {
	text, err := json.Marshal(breaker.Event{To: breaker.Open, OpenFor: time.Second})
	require.NoError(t, err)
	for _, part := range []string{`"from":"closed"`, `"to":"open"`, `"open_for_ns":1000000000`, `"retry_after_ns":0`, `"lost_probes":0`} {
		assert.Contains(t, string(text), part)
	}
}

// T28: across 15,000 changes of state every settled permit is counted exactly
// once, and every refusal.
func TestTotalsAreExactAcrossChanges(t *testing.T) {
	for name, c := range map[string]breaker.Config{"time": {Window: time.Millisecond}, "count": {LastCalls: 10}, "none": {FailureRate: -1}} {
		t.Run(name, func(t *testing.T) {
			var changes atomic.Int64
			c.Probes, c.Consecutive, c.OpenFor, c.MaxOpenFor = 3, 2, 1, 1
			c.OnEvent = func(breaker.Event) { changes.Add(1) }
			b := breaker.New(c)
			var settled, refused atomic.Uint64
			var wg, watcher sync.WaitGroup
			stop := make(chan struct{})
			watcher.Go(func() { watchTotals(t, b, stop) })
			for g := range uint64(3) {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(g, 1))
					for changes.Load() < 5_000 {
						p, err := b.Allow(context.Background())
						if err != nil {
							refused.Add(1)
							continue
						}
						settled.Add(1)
						p.Done(outcomes[r.IntN(len(outcomes))])
					}
				})
			}
			wg.Wait()
			close(stop)
			watcher.Wait()
			s := b.Stats()
			assert.Equal(t, settled.Load(), s.Succeeded+s.Failed+s.Ignored+s.Stale)
			assert.Equal(t, refused.Load(), s.Rejected)
		})
	}
}

var outcomes = []error{nil, nil, nil, errDown, errDown, breaker.ErrRejected}

// watchTotals checks that no total runs backwards and no rate is out of range
// (T13).
func watchTotals(t *testing.T, b *breaker.Breaker, stop chan struct{}) {
	var last breaker.Stats
	for {
		select {
		case <-stop:
			return
		default:
		}
		s := b.Stats()
		if s.Failures > s.Calls || s.Slow > s.Calls || s.Succeeded < last.Succeeded || s.Failed < last.Failed ||
			s.Rejected < last.Rejected || s.Ignored < last.Ignored || s.Stale < last.Stale {
			t.Errorf("%+v after %+v", s, last)
			return
		}
		last = s
	}
}
