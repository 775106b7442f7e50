package saga_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/saga/barrier"
	"github.com/keelson-go/keelson/saga/choreography"
)

// published notes the keys of what a relay publishes, one after the other.
type published struct {
	messaging.Publisher
	mu   sync.Mutex
	keys []string
}

func (p *published) Publish(ctx context.Context, msgs ...messaging.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range msgs {
		p.keys = append(p.keys, m.Key)
	}
	return p.Publisher.Publish(ctx, msgs...)
}

func (p *published) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.keys)
}

// T39: an event that is delivered again, after its answer was published, is not
// answered again: the barrier alone would give the same answer once more.
func TestRedeliveredEventIsAnsweredOnceByAnOutbox(t *testing.T) {
	db := openDB(t, "sqlite", sqliteDSN(t.TempDir())+"&_txlock=immediate")
	require.NoError(t, outbox.Setup(t.Context(), db, outbox.Config{}))
	require.NoError(t, barrier.Setup(t.Context(), db))
	box, err := outbox.Open(t.Context(), db, outbox.Config{Poll: time.Millisecond})
	require.NoError(t, err)
	broker := messaging.NewMemory(messaging.Config{})
	f := choreographed(&inProcess{sum: map[string]int{}}, func() bool { return false })
	relay := &published{Publisher: broker}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() { assert.ErrorIs(t, box.Relay(ctx, relay), context.Canceled) })
	group.Go(func() {
		cfg := choreography.Config{Subscriber: broker, Outbox: box, Subscription: messaging.Subscription{Concurrency: 1}}
		assert.ErrorIs(t, f.Serve(ctx, "payment", cfg), context.Canceled)
	})
	begin := func(id string) {
		e, err := choreography.Emit("OrderCreated", 1)
		require.NoError(t, err)
		m, err := f.Begin(id, e)
		require.NoError(t, err)
		m.ID, m.Key = id, "in line"
		require.NoError(t, broker.Publish(ctx, m))
	}
	answered := func(n int, by string) {
		require.Eventually(t, func() bool { return len(relay.all()) >= n }, 20*time.Second, time.Millisecond, "no answer to %s", by)
	}
	broker.Declare(f.Name, "payment")
	begin("order-00")
	answered(1, "order-00")
	begin("order-00") // delivered again
	begin("order-04") // behind it
	answered(2, "order-04")
	assert.Equal(t, []string{"order-00", "order-04"}, relay.all())
}
