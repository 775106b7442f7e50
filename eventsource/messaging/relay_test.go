package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// moody is a broker that fails every third time, once before and once after the
// messages are held.
type moody struct {
	*messaging.Memory
	n int
}

func (m *moody) Publish(ctx context.Context, msgs ...messaging.Message) error {
	m.n++
	switch m.n % 6 {
	case 2:
		return errors.New("the broker is away")
	case 5:
		_ = m.Memory.Publish(ctx, msgs...)
		return errors.New("the reply is lost")
	default:
		return m.Memory.Publish(ctx, msgs...)
	}
}

func TestRelayPublishesTheLogInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, broker := eventsource.NewMemory(), &moody{Memory: messaging.NewMemory(messaging.Config{})}
		relay := messaging.Relay("orders-out", eventsource.Query{{Types: []string{"order.created"}}}, broker, "order-events")
		relay.BatchSize = 10
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- relay.Run(ctx, store, store) }()
		const n = 200
		for i := range n {
			stream := fmt.Sprint("order-", i%7)
			_, err := store.Append(ctx, []eventsource.Event{
				{ID: fmt.Sprint("e-", i), Stream: stream, Type: "order.created", Meta: map[string]string{"correlation": fmt.Sprint("c-", i)}, Data: []byte(`{}`)},
				{Stream: stream, Type: "order.internal"},
			})
			require.NoError(t, err)
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		head, err := store.Head(ctx)
		require.NoError(t, err)
		require.NoError(t, relay.WaitFor(ctx, store, head))
		cancel()
		<-done

		ids, again := map[string]bool{}, 0
		last := map[string]int{}
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			defer close(done)
			sub := messaging.Subscription{Topics: []string{"order-events"}, Group: "g"}
			_ = broker.Subscribe(ctx, sub, func(_ context.Context, d messaging.Delivery) error {
				if ids[d.ID] {
					again++
					return nil
				}
				ids[d.ID] = true
				position, err := strconv.Atoi(d.Headers["keelson-position"])
				assert.NoError(t, err)
				assert.True(t, position > last[d.Key], "first deliveries keep the order of the stream")
				last[d.Key] = position
				assert.Equal(t, "order.created 1", d.Headers["keelson-type"]+" "+d.Headers["keelson-schema"])
				assert.Equal(t, "c-"+d.ID[2:], d.Headers["correlation"])
				return nil
			})
		}()
		synctest.Wait()
		cancel()
		<-done
		assert.Equal(t, n, len(ids))
		assert.True(t, again > 0, "the broker lost a reply, and nothing came twice")
	})
}
