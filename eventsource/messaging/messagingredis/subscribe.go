package messagingredis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
	"github.com/redis/go-redis/v9"
)

const (
	// block is how long a read waits for news. A client cannot be relied on to
	// interrupt it, so it is what the end of ctx may have to wait for.
	block = 250 * time.Millisecond

	// A member reads ahead of its handlers what they will have done in this time,
	// and no more than so many messages: behind a slow handler they would wait,
	// while another member is free.
	aheadFor = 2 * time.Millisecond
	aheadMax = 64

	// heldMax bounds what a member holds, with what waits for its next attempt.
	heldMax = 1024
)

// member is one Subscribe.
type member struct {
	*Broker
	group string
	name  string // of the consumer, new each time
	queue *consume.Queue[*entry]

	concurrency int

	mu   sync.Mutex
	took time.Duration                // a moving average of the handlers; 0: none has run
	held map[string]map[string]*entry // by topic and id: read, and not settled
}

// Subscribe implements messaging.Subscriber. A new group begins at the oldest
// entry of its streams. While Redis is away it keeps trying. The end of ctx is
// noticed within a quarter of a second.
func (b *Broker) Subscribe(ctx context.Context, sub messaging.Subscription, h messaging.Handler) error {
	settings, err := adapter.Settings(sub, h)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m := &member{
		Broker: b, group: settings.Group, name: id.New().String(), concurrency: settings.Concurrency,
		queue: consume.NewQueue[*entry](), held: map[string]map[string]*entry{},
	}
	reading, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	for _, topic := range settings.Topics {
		m.held[topic] = map[string]*entry{}
		readers.Go(func() { m.read(reading, topic) })
	}
	readers.Go(func() { m.keep(reading, settings.Topics) })
	// Held on to until the last handler has returned, which may be long after ctx.
	holding, letGo := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { m.renew(holding) })

	err = adapter.Run(ctx, settings, sub, h, m.ops(), m.queue)
	stop()
	readers.Wait()
	letGo()
	keeper.Wait()
	m.leave(context.WithoutCancel(ctx), settings.Topics)
	return adapter.Raise(err)
}

func (m *member) ops() adapter.Ops[*entry] {
	return adapter.Ops[*entry]{
		Message: (*entry).delivery,
		Again: func(ctx context.Context, e *entry, attempt int) {
			// Redis counts only what it hands out; a count that could not be set is low
			// by one, no more.
			m.setCount(ctx, e, attempt, -1)
		},
		Ack: func(ctx context.Context, e *entry) error {
			ctx, cancel := context.WithTimeout(ctx, m.cfg.MinIdle)
			defer cancel()
			m.forget(e)
			return wrap(ctx, m.client.XAck(ctx, m.stream(e.topic), m.group, e.id).Err())
		},
		Publish: func(ctx context.Context, msg messaging.Message) error { return m.Publish(ctx, msg) },
		Gone:    func(e *entry) bool { return e.lost.Load() },
		Took:    m.learn,
	}
}

func (m *member) learn(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	took = max(took, time.Microsecond)
	if m.took == 0 {
		m.took = took
	}
	m.took += (took - m.took) / 8
}

// limit is the most deliveries to hold that run or could.
func (m *member) limit() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.took == 0 {
		return m.concurrency
	}
	return m.concurrency + min(int(aheadFor/m.took)*m.concurrency, aheadMax)
}

// read feeds the queue: first what dead members left, then what is new, and what
// dead members leave meanwhile every so often.
func (m *member) read(ctx context.Context, topic string) {
	look := min(m.cfg.MinIdle/4, time.Second)
	wait := 10 * time.Millisecond
	var looked time.Time
	for ready := false; ctx.Err() == nil; {
		err := error(nil)
		if !ready {
			err = m.create(ctx, topic)
			ready = err == nil
		}
		if err == nil && time.Since(looked) >= look {
			err = m.inherit(ctx, topic)
			looked = time.Now()
		}
		if err == nil {
			err = m.news(ctx, topic, min(look, block))
		}
		switch {
		case err == nil:
			wait = 10 * time.Millisecond
			continue
		case strings.HasPrefix(err.Error(), "NOGROUP"): // the server lost its data
			ready = false
		}
		adapter.Sleep(ctx, wait)
		wait = min(2*wait, time.Second)
	}
}

func (m *member) create(ctx context.Context, topic string) error {
	err := m.client.XGroupCreateMkStream(ctx, m.stream(topic), m.group, "0").Err()
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil
	}
	return err
}

// news reads what no member has had yet, as much as there is room for.
func (m *member) news(ctx context.Context, topic string, wait time.Duration) error {
	room, err := m.queue.WaitHungry(ctx, m.limit(), heldMax)
	if err != nil {
		return err
	}
	streams, err := m.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: m.group, Consumer: m.name, Streams: []string{m.stream(topic), ">"},
		Count: int64(room), Block: max(wait, time.Millisecond),
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range streams {
		for _, msg := range s.Messages {
			m.take(topic, msg, 0)
		}
	}
	return nil
}

// inherit takes over what others have not renewed. Redis raises the count of each;
// the number of deliveries before this one is what it was.
func (m *member) inherit(ctx context.Context, topic string) error {
	for start := "0-0"; ; {
		room, err := m.queue.WaitHungry(ctx, m.limit(), heldMax)
		if err != nil {
			return err
		}
		msgs, next, err := m.client.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: m.stream(topic), Group: m.group, Consumer: m.name, MinIdle: m.cfg.MinIdle,
			Start: start, Count: int64(room),
		}).Result()
		if err != nil {
			return err
		}
		counts, err := m.counts(ctx, topic, msgs)
		if err != nil {
			return err
		}
		for _, msg := range msgs {
			m.take(topic, msg, counts[msg.ID]-1)
		}
		if start = next; start == "0-0" {
			return nil
		}
	}
}

// counts asks how often entries were delivered, this time included.
func (m *member) counts(ctx context.Context, topic string, msgs []redis.XMessage) (map[string]int, error) {
	counts := make(map[string]int, len(msgs))
	if len(msgs) == 0 {
		return counts, nil
	}
	cmds := make([]*redis.XPendingExtCmd, len(msgs))
	_, err := m.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, msg := range msgs {
			cmds[i] = p.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: m.stream(topic), Group: m.group, Start: msg.ID, End: msg.ID, Count: 1})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, msg := range msgs {
		if pending := cmds[i].Val(); len(pending) > 0 {
			counts[msg.ID] = int(pending[0].RetryCount)
		}
	}
	return counts, nil
}

// take hands an entry to the handlers, unless this member holds it already: then a
// renewal was late and it has taken over from itself.
func (m *member) take(topic string, msg redis.XMessage, attempts int) {
	if msg.Values == nil {
		return // trimmed or deleted by hand while pending
	}
	e := &entry{topic: topic, id: msg.ID, at: timeOf(msg.ID), message: msg}
	m.mu.Lock()
	_, mine := m.held[topic][msg.ID]
	if !mine {
		m.held[topic][msg.ID] = e
	}
	m.mu.Unlock()
	if !mine {
		key, _ := msg.Values[fieldKey].(string)
		m.queue.Push(e, key, max(attempts, 0))
	}
}

// forget leaves an entry alone that was taken by another and came back.
func (m *member) forget(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[e.topic][e.id] == e {
		delete(m.held[e.topic], e.id)
	}
}
