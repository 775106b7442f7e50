package saga

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// outage is a store that commits nothing, lists only if it is told to, and notes how
// many ids it was asked for at once.
type outage struct {
	*Memory
	lists atomic.Bool
	asked atomic.Int64
}

var errOutage = errors.New("no route to the store")

func (*outage) Commit(context.Context, []Write) ([]Verdict, error) { return nil, errOutage }

func (o *outage) List(ctx context.Context, f Filter) iter.Seq2[Summary, error] {
	o.asked.Store(max(o.asked.Load(), int64(len(f.IDs))))
	if !o.lists.Load() {
		return func(yield func(Summary, error) bool) { yield(Summary{}, errOutage) }
	}
	return o.Memory.List(ctx, f)
}

// What a process remembers of Starts that gave up is bounded, while the store is away
// and afterwards: the latest of those that are not there are looked for, and the log
// says that others are not.
func TestMissingSagasAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places, starts = 2 * maxMissing, 3 * maxMissing
		var log bytes.Buffer
		store := &outage{Memory: NewMemory()}
		c, err := New(store, Config{MaxRunning: places, Poll: 10 * time.Second, Lease: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		s, err := Register(c, Definition[int]{Name: "order", Steps: []Step[int]{
			{Name: "pay", Do: func(context.Context, *int) error { return nil }},
		}})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Serve(ctx) }()
		synctest.Wait()
		for i := range starts {
			begun, cancel := context.WithTimeout(ctx, time.Microsecond)
			require.Error(t, s.Start(begun, fmt.Sprint(i), i))
			cancel()
		}
		remembers := func(after time.Duration, lost, absent int) map[string]*missing {
			time.Sleep(after)
			synctest.Wait()
			server := c.serving()
			server.mu.Lock()
			defer server.mu.Unlock()
			assert.Equal(t, lost, len(server.lost))
			assert.Equal(t, absent, len(server.absent))
			return maps.Clone(server.absent)
		}
		remembers(time.Minute, places, 0)
		store.lists.Store(true)
		absent := remembers(50*time.Second, 0, maxMissing)
		assert.True(t, absent[fmt.Sprint(places-1)] != nil, "the latest is looked for")
		assert.True(t, absent["0"] == nil, "the oldest is not")
		assert.Equal(t, int64(missingPage), store.asked.Load())
		assert.Equal(t, 1, strings.Count(log.String(), "not looked for any more"), log.String())
		remembers(missingLeases*30*time.Second, 0, 0)
		stop()
		require.NoError(t, <-done)
	})
}

// Only a saga that nobody has gone on with is run as the one that a Start has lost.
func TestOwnSagaIsAsItsStartLeftIt(t *testing.T) {
	r := &run{owner: "me"}
	own := Summary{Owner: "me", Epoch: 1, Seq: 1, Fingerprint: "f"}
	assert.True(t, r.isOwn(own, "f"))
	for name, change := range map[string]func(*Summary){
		"another's":   func(s *Summary) { s.Owner = "you" },
		"claimed":     func(s *Summary) { s.Epoch = 2 },
		"gone on":     func(s *Summary) { s.Seq = 2 },
		"other input": func(s *Summary) { s.Fingerprint = "g" },
	} {
		other := own
		change(&other)
		assert.False(t, r.isOwn(other, "f"), name)
	}
}

// Only a saga that still belongs to a claim is run: since it was claimed, or listed, it may
// have been given up, and be another's.
func TestSagaIsHeldAsItsClaimLeftIt(t *testing.T) {
	r := &run{owner: "me", claim: 3}
	assert.True(t, r.holds(Summary{Owner: "me", Epoch: 3, Seq: 7}))
	assert.False(t, r.holds(Summary{Owner: "you", Epoch: 4, Seq: 7}), "another's")
	assert.False(t, r.holds(Summary{Epoch: 3, Seq: 8}), "given up")
	assert.False(t, r.holds(Summary{Owner: "me", Epoch: 4, Seq: 8}), "given up and claimed again")
}
