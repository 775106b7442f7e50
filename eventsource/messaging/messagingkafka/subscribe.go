package messagingkafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// heldMax is how many messages a member holds that are not acknowledged.
	heldMax = 1024

	// rebalance is how long the group waits for a member that has to let go, and
	// letGo how long this one lets its handlers run.
	rebalance = time.Minute
	letGo     = rebalance / 2
)

// member is one Subscribe.
type member struct {
	client *kgo.Client
	queue  *consume.Queue[*entry]
	ready  int // most messages that run or could

	committing chan struct{} // of capacity 1: whose turn it is

	mu         sync.Mutex
	partitions map[partition]*progress
	changed    chan struct{} // something was acknowledged; of capacity 1
}

// Subscribe implements messaging.Subscriber. A new group begins at the earliest
// offset. While the cluster is away it keeps trying.
func (b *Broker) Subscribe(ctx context.Context, sub messaging.Subscription, h messaging.Handler) error {
	settings, err := adapter.Settings(sub, h)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := b.life.Enter(); err != nil {
		return err
	}
	defer b.life.Leave()
	for _, topic := range settings.Topics {
		if err := b.createPatiently(ctx, topic); err != nil {
			return wrap(ctx, err)
		}
	}
	m := &member{
		queue: consume.NewQueue[*entry](), ready: 2 * settings.Concurrency,
		committing: make(chan struct{}, 1), partitions: map[partition]*progress{}, changed: make(chan struct{}, 1),
	}
	m.client, err = kgo.NewClient(b.options(
		kgo.ConsumerGroup(settings.Group),
		kgo.ConsumeTopics(settings.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		// A partition must not go and come back between a poll and the note of what it
		// returned: records of the old assignment would be counted in the new one.
		kgo.BlockRebalanceOnPoll(),
		kgo.RebalanceTimeout(rebalance),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, all map[string][]int32) { m.assigned(all) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, all map[string][]int32) { m.revoked(ctx, all) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, all map[string][]int32) { m.lost(all) }),
	)...)
	if err != nil {
		return wrap(ctx, err)
	}
	running, stop := context.WithCancelCause(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { m.poll(running) })
	helpers.Go(func() { m.commit(running) })
	helpers.Go(func() { b.life.Watch(running, stop) })
	err = adapter.Run(running, settings, sub, h, m.ops(b), m.queue)
	stop(nil)
	helpers.Wait()
	m.queue.Close()
	m.leave(context.WithoutCancel(ctx))
	return adapter.Raise(err)
}

func (m *member) ops(b *Broker) adapter.Ops[*entry] {
	return adapter.Ops[*entry]{
		Message: func(e *entry) messaging.Delivery { return delivery(e.record) },
		Ack: func(_ context.Context, e *entry) error {
			m.acknowledge(e)
			return nil
		},
		Publish: func(ctx context.Context, msg messaging.Message) error { return b.Publish(ctx, msg) },
		Gone: func(e *entry) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return e.from.gone
		},
	}
}

// poll feeds the queue as far as the handlers have room. The client goes on
// sending heartbeats however long that takes.
func (m *member) poll(ctx context.Context) {
	for {
		room, err := m.queue.WaitHungry(ctx, m.ready, heldMax)
		if err != nil {
			return
		}
		fetches := m.client.PollRecords(ctx, room)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			m.client.AllowRebalance()
			return
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if e := m.admit(r); e != nil {
				m.queue.Push(e, string(r.Key), 0)
			}
		})
		m.client.AllowRebalance()
		// The client retries by itself; what it reports is that it does.
		if err := fetches.Err(); err != nil && !errors.Is(err, context.Canceled) {
			adapter.Sleep(ctx, 100*time.Millisecond)
		}
	}
}

// commit sends the newest offsets, one request at a time: acknowledgements that
// come during one share the next.
func (m *member) commit(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		}
		for m.commitNow(ctx, nil) != nil && ctx.Err() == nil {
			adapter.Sleep(ctx, 100*time.Millisecond)
		}
	}
}

// leave commits what was acknowledged and gives the partitions up, so that the
// group need not wait for a time-out.
func (m *member) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, letGo)
	defer cancel()
	_ = m.commitNow(ctx, nil)
	_ = m.client.LeaveGroupContext(ctx)
	m.client.CloseAllowingRebalance()
}
