package messagingamqp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// heldMax bounds what a member holds, with what waits for its next attempt.
	heldMax = 1024

	// waitMax is the longest wait for an attempt: RabbitMQ takes back what is held
	// unacknowledged for half an hour.
	waitMax = 10 * time.Minute
)

// member is one Subscribe.
type member struct {
	*Broker
	settings consume.Settings
	queue    *consume.Queue[*entry]

	mu      sync.Mutex
	session *amqp.Channel  // the one that is open, if any
	held    map[string]int // unacknowledged in it, by topic
}

// entry is one delivery, and the session that it can be acknowledged in.
type entry struct {
	topic   string
	session *amqp.Channel
	d       amqp.Delivery
}

// Subscribe implements messaging.Subscriber. It declares the group first, which
// gets what is published from then on. While RabbitMQ is away it keeps trying.
func (b *Broker) Subscribe(ctx context.Context, sub messaging.Subscription, h messaging.Handler) error {
	settings, err := adapter.Settings(sub, h)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, topic := range settings.Topics {
		err := errors.Join(checkQueue(topic, settings.Group), checkQueue(settings.DeadLetterOf(topic), parked))
		if err != nil {
			return err
		}
	}
	if err := b.life.Enter(); err != nil {
		return err
	}
	defer b.life.Leave()
	m := &member{Broker: b, settings: settings, queue: consume.NewQueue[*entry](), held: map[string]int{}}
	running, stop := context.WithCancelCause(ctx)
	// The session outlives ctx, so that handlers that still run can acknowledge.
	session, end := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	helpers.Go(func() { m.connect(session, running, stop) })
	helpers.Go(func() { b.life.Watch(running, stop) })
	err = adapter.Run(running, settings, sub, h, m.ops(), m.queue)
	stop(nil)
	m.queue.Close()
	end() // the channel closes, and RabbitMQ delivers what is left to others
	helpers.Wait()
	return adapter.Raise(err)
}

func (m *member) ops() adapter.Ops[*entry] {
	return adapter.Ops[*entry]{
		Message: func(e *entry) messaging.Delivery { return delivery(e.topic, &e.d) },
		Ack: func(_ context.Context, e *entry) error {
			m.mu.Lock()
			if e.session == m.session {
				m.held[e.topic]--
			}
			m.mu.Unlock()
			return e.d.Ack(false)
		},
		Publish: func(ctx context.Context, msg messaging.Message) error { return m.Publish(ctx, msg) },
		// RabbitMQ delivers again what a session that broke has not acknowledged.
		Gone:    func(e *entry) bool { return e.session.IsClosed() },
		MaxWait: waitMax,
	}
}

// starved: RabbitMQ sends no more, since all that it may send waits here for its
// next attempt, and the handlers have nothing to do.
func (m *member) starved(topic string, prefetch int) bool {
	m.mu.Lock()
	held := m.held[topic]
	m.mu.Unlock()
	return held >= prefetch && m.queue.Busy() == 0
}

// connect keeps a session open until session ends; running ends consuming. What
// RabbitMQ refuses for good ends the subscription.
func (m *member) connect(session, running context.Context, stop context.CancelCauseFunc) {
	wait := 50 * time.Millisecond
	for session.Err() == nil {
		began := time.Now()
		if err := m.attend(session, running); refused(err) {
			stop(fmt.Errorf("messagingamqp: %w", err))
			return
		}
		if time.Since(began) > 10*time.Second {
			wait = 50 * time.Millisecond
		}
		adapter.Sleep(session, wait)
		wait = min(2*wait, 5*time.Second)
	}
}

// refused: the queue exists with other arguments, or the user may not use it.
func refused(err error) bool {
	says, ok := errors.AsType[*amqp.Error](err)
	return ok && says.Server && (says.Code == amqp.PreconditionFailed || says.Code == amqp.AccessRefused)
}

// attend consumes on one connection until it breaks or session ends. The error is
// why it could not begin.
func (m *member) attend(session, running context.Context) error {
	conn, err := dial(session, m.cfg.URL)
	if err != nil {
		return err
	}
	defer func() { conn.CloseDeadline(time.Now().Add(grace)) }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.session = ch
	clear(m.held)
	m.mu.Unlock()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	for _, topic := range m.settings.Topics {
		if err := m.declare(ch, topic, m.settings.Group, m.settings.DeadLetterOf(topic)); err != nil {
			return err
		}
	}
	var consumers sync.WaitGroup
	consuming, stop := context.WithCancel(running)
	for _, topic := range m.settings.Topics {
		consumers.Go(func() { m.consume(consuming, ch, topic) })
	}
	select {
	case <-closed:
	case <-session.Done():
	}
	stop()
	consumers.Wait()
	// RabbitMQ delivers again what this session has not acknowledged.
	m.queue.Drop(func(e *entry) bool { return e.session == ch })
	return nil
}

// consume feeds the queue from one topic. A member has only as many messages as
// handlers: more would wait behind a slow one while another member is free, and
// RabbitMQ would count a delivery of each when the member ends. Those that wait for
// their next attempt come on top. How many messages may be out is a
// property of a consumer, so another number takes another consumer. It changes only
// when as many are out as may be: then none is on its way, which RabbitMQ would put
// back and deliver out of order.
func (m *member) consume(ctx context.Context, ch *amqp.Channel, topic string) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for n := m.settings.Concurrency; ctx.Err() == nil; n = min(2*n, heldMax) {
		tag := id.New().String()
		if ch.Qos(n, 0, false) != nil {
			return
		}
		deliveries, err := ch.Consume(topic+"."+m.settings.Group, tag, false, false, false, false, nil)
		if err != nil {
			return
		}
		for enough := true; enough; {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return // the channel is closed
				}
				m.take(ch, topic, d)
			case <-look.C:
				enough = n >= heldMax || !m.starved(topic, n)
			case <-ctx.Done():
				enough = false
			}
		}
		if ch.Cancel(tag, false) != nil {
			return
		}
		for d := range deliveries { // sent before the cancel
			if ctx.Err() == nil {
				m.take(ch, topic, d)
			}
		}
	}
}

func (m *member) take(ch *amqp.Channel, topic string, d amqp.Delivery) {
	m.mu.Lock()
	m.held[topic]++
	m.mu.Unlock()
	key, _ := d.Headers[headerKey].(string)
	m.queue.Push(&entry{topic: topic, session: ch, d: d}, key, deliveries(&d))
}
