package eventsource_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
)

// T20: subscriptions that start at every position while writers run receive
// exactly the tail, on every store; one whose consumer stalls holds no append
// back and misses nothing.
func TestSubscriptionSwitchStorm(t *testing.T) {
	const writers, each = 4, 40
	onEachStore(t, func(t *testing.T, open func(t *testing.T) eventsource.Store) {
		s := open(t)
		next, stop := iter.Pull2(eventsource.Subscribe(t.Context(), s, eventsource.All(), 0))
		defer stop()
		_, err, ok := next() // it has begun, and comes back when all is over
		require.True(t, ok)
		require.NoError(t, err)

		begun := make([]eventsource.Position, writers*each)
		got := make([]*tail, writers*each)
		var writing, reading sync.WaitGroup
		over := make(chan struct{})
		var last eventsource.Position
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					res, err := s.Append(context.Background(), []event{{Stream: fmt.Sprint("w", w), Type: "t"}})
					if !assert.NoError(t, err) {
						return
					}
					n := w*each + i
					begun[n], got[n] = res.Last, &tail{}
					reading.Go(func() { got[n].follow(t, s, res.Last, over, &last) })
				}
			})
		}
		writing.Wait()
		last, err = s.Head(t.Context())
		require.NoError(t, err)
		close(over)
		reading.Wait()

		var all []eventsource.Position
		for r, err := range s.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{}) {
			require.NoError(t, err)
			all = append(all, r.Position)
		}
		require.Len(t, all, writers*each)
		for n, after := range begun {
			require.Equal(t, above(all, after), got[n].seen, "after %d", after)
		}
		var slow []eventsource.Position
		for len(slow) < len(all) {
			b, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
			for _, r := range b.Events {
				slow = append(slow, r.Position)
			}
		}
		require.Equal(t, all, slow)
	})
}

// tail is what a subscription has received.
type tail struct{ seen []eventsource.Position }

// follow subscribes until it has come to *last, which is known once over is
// closed.
func (f *tail) follow(t *testing.T, s eventsource.Store, after eventsource.Position, over <-chan struct{}, last *eventsource.Position) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	through := after
	go func() { // an idle one would wait for ever
		select {
		case <-over:
			cancel()
		case <-ctx.Done():
		}
	}()
	take := func(ctx context.Context, done func() bool) (err error) {
		for b, err := range eventsource.Subscribe(ctx, s, eventsource.All(), through) {
			if err != nil {
				return err
			}
			for _, r := range b.Events {
				f.seen = append(f.seen, r.Position)
			}
			if through = b.Through; done() {
				break
			}
		}
		return nil
	}
	if err := take(ctx, func() bool { return false }); ctx.Err() == nil {
		assert.NoError(t, err)
	}
	<-over
	assert.NoError(t, take(context.Background(), func() bool { return through >= *last }))
}

func above(all []eventsource.Position, after eventsource.Position) (rest []eventsource.Position) {
	for _, p := range all {
		if p > after {
			rest = append(rest, p)
		}
	}
	return rest
}
