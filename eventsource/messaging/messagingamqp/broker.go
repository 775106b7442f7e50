package messagingamqp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Config are the settings of a [Broker].
type Config struct {
	// URL is amqp://user:password@host:port/vhost, or amqps.
	URL string

	// Classic makes classic durable queues, which do not count deliveries, and of
	// which RabbitMQ 3.10 was seen to forget one that it had declared seconds
	// before it was killed. Zero means quorum queues. What is declared already must
	// be of the same kind.
	Classic bool
}

// Broker is a messaging.Publisher and a messaging.Subscriber. It is safe for
// concurrent use. Publishing has one connection, each Subscribe one of its own; all
// of them connect again by themselves and declare again what they need.
type Broker struct {
	cfg       Config
	publisher *publisher
	life      *adapter.Life
}

var errClosed = errors.New("messagingamqp: the broker is closed")

// Open connects once, so that a wrong URL shows at once. The error does not show
// the password.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if _, err := amqp.ParseURI(cfg.URL); err != nil {
		// Its text may show the whole URL.
		return nil, errors.New("messagingamqp: Config.URL is not one: want amqp://user:password@host:port/vhost, special characters of the password as %XX")
	}
	conn, err := dial(ctx, cfg.URL)
	if err != nil {
		return nil, wrap(ctx, err)
	}
	b := &Broker{cfg: cfg, life: adapter.NewLife(errClosed)}
	b.publisher = newPublisher(b, conn)
	return b, nil
}

// Close ends running subscriptions, waits for them, and closes the connections.
// Publish and Subscribe then return an error. It is idempotent.
func (b *Broker) Close() error {
	b.life.Close()
	b.publisher.close()
	return nil
}

// Declare makes the topic and the group, so that from now on the group misses
// nothing, and the group's dead letter topic with a queue of the group "parked".
// It is idempotent. Subscribe declares by itself.
func (b *Broker) Declare(ctx context.Context, topic, group string) error {
	for field, name := range map[string]string{"topic": topic, "group": group} {
		if err := consume.CheckName(field, name); err != nil {
			return err
		}
	}
	if err := checkQueue(topic, group); err != nil {
		return err
	}
	conn, err := dial(ctx, b.cfg.URL)
	if err != nil {
		return wrap(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.CloseDeadline(time.Now()) })()
	ch, err := conn.Channel()
	if err != nil {
		return wrap(ctx, err)
	}
	return wrap(ctx, b.declare(ch, topic, group, topic+"."+group+".dead"))
}

// nameMax is how long a queue's name may be: a short string of AMQP.
const nameMax = 255

// checkQueue refuses names that each are allowed, and too long together.
func checkQueue(topic, group string) error {
	if n := len(topic) + 1 + len(group); n > nameMax {
		return fmt.Errorf("%w: Group: the queue topic.group has a name of %d bytes: want at most %d", messaging.ErrInvalid, n, nameMax)
	}
	return nil
}

// parked is the group that keeps dead letters.
const parked = "parked"

// declare makes the topic, the group's queue, and the dead letter topic.
func (b *Broker) declare(ch *amqp.Channel, topic, group, dead string) error {
	if err := b.bind(ch, topic, group); err != nil {
		return err
	}
	return b.bind(ch, dead, parked)
}

func (b *Broker) bind(ch *amqp.Channel, topic, group string) error {
	if err := exchange(ch, topic); err != nil {
		return err
	}
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	if b.cfg.Classic {
		args = amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic}
	}
	queue := topic + "." + group
	if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
		return fmt.Errorf("queue %s: %w", queue, err)
	}
	if err := ch.QueueBind(queue, "", topic, false, nil); err != nil {
		return fmt.Errorf("queue %s: %w", queue, err)
	}
	return nil
}

func exchange(ch *amqp.Channel, topic string) error {
	if err := ch.ExchangeDeclare(topic, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return fmt.Errorf("exchange %s: %w", topic, err)
	}
	return nil
}

// dial connects. The library does not heed a context, so the end of one closes the
// connection under it.
func dial(ctx context.Context, url string) (*amqp.Connection, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	keep := func() bool { return true }
	conn, err := amqp.DialConfig(url, amqp.Config{
		Heartbeat: 5 * time.Second, Locale: "en_US",
		Dial: func(network, addr string) (net.Conn, error) {
			const patience = 10 * time.Second
			c, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			keep = context.AfterFunc(ctx, func() { c.Close() })
			return c, c.SetDeadline(time.Now().Add(patience)) // which the library lifts after the handshake
		},
	})
	if !keep() && err == nil {
		conn.Close()
		return nil, context.Cause(ctx)
	}
	return conn, err
}

func wrap(ctx context.Context, err error) error { return adapter.Wrap(ctx, "messagingamqp", err) }

// Headers of this package; the others are the message's own.
const (
	headerKey   = "keelson-key"
	headerAt    = "keelson-at"       // ms, the publisher's clock: AMQP has seconds, and no clock of its own
	headerCount = "x-delivery-count" // of a quorum queue
)

// publishing copies m, since who publishes may leave while it is being written.
func publishing(m messaging.Message) amqp.Publishing {
	headers := make(amqp.Table, len(m.Headers)+2)
	for name, value := range m.Headers {
		headers[name] = value
	}
	now := time.Now()
	headers[headerKey], headers[headerAt] = m.Key, strconv.FormatInt(now.UnixMilli(), 10)
	return amqp.Publishing{
		Headers: headers, MessageId: m.ID, Timestamp: now,
		DeliveryMode: amqp.Persistent, Body: bytes.Clone(m.Body),
	}
}

// delivery decodes afresh each time, since a handler may change what it gets.
func delivery(topic string, d *amqp.Delivery) messaging.Delivery {
	out := messaging.Delivery{
		Message: messaging.Message{ID: d.MessageId, Topic: topic, Body: append([]byte(nil), d.Body...)},
		Time:    d.Timestamp,
	}
	for name, value := range d.Headers {
		text, ok := value.(string)
		switch {
		case name == headerKey:
			out.Key = text
		case name == headerAt:
			if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
				out.Time = time.UnixMilli(ms)
			}
		case ok: // of another type: RabbitMQ's own, or another program's
			if out.Headers == nil {
				out.Headers = make(map[string]string, len(d.Headers))
			}
			out.Headers[name] = text
		}
	}
	return out
}

// deliveries is how often the queue has delivered the message before.
func deliveries(d *amqp.Delivery) int {
	switch n := d.Headers[headerCount].(type) {
	case int64:
		return int(n)
	case int32:
		return int(n)
	default:
		return 0
	}
}
