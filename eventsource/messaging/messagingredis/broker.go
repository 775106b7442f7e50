package messagingredis

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/redis/go-redis/v9"
)

// Config are the settings of a [Broker].
type Config struct {
	// Prefix goes before the topic in the name of a stream. Empty means "keelson:".
	Prefix string

	// MinIdle is how long a silent member keeps its deliveries. Zero means 30
	// seconds; at least 10 milliseconds.
	MinIdle time.Duration
}

// Broker is a messaging.Publisher and a messaging.Subscriber. It does not own the
// client, has no goroutine of its own, and is safe for concurrent use.
type Broker struct {
	client redis.UniversalClient
	cfg    Config
}

// New returns a broker and does no I/O. It panics if client is nil or a setting
// is out of its range.
func New(client redis.UniversalClient, cfg Config) *Broker {
	if client == nil {
		panic("messagingredis: the client is nil")
	}
	if cfg.MinIdle != 0 && cfg.MinIdle < 10*time.Millisecond {
		panic(fmt.Sprintf("messagingredis: Config.MinIdle is %v: want zero, which means 30 s, or at least 10 ms", cfg.MinIdle))
	}
	cfg.MinIdle = cmp.Or(cfg.MinIdle, 30*time.Second)
	cfg.Prefix = cmp.Or(cfg.Prefix, "keelson:")
	return &Broker{client: client, cfg: cfg}
}

func (b *Broker) stream(topic string) string { return b.cfg.Prefix + topic }

// Fields of an entry. Empty ones are left out.
const (
	fieldID      = "id"
	fieldKey     = "key"
	fieldHeaders = "headers" // a JSON object
	fieldBody    = "body"
)

// Publish implements messaging.Publisher in one round trip. Nil means that Redis
// has applied all.
func (b *Broker) Publish(ctx context.Context, msgs ...messaging.Message) error {
	msgs, err := adapter.Prepare(msgs)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(msgs) == 1 {
		return wrap(ctx, b.client.XAdd(ctx, b.entry(msgs[0])).Err())
	}
	_, err = b.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range msgs {
			p.XAdd(ctx, b.entry(m))
		}
		return nil
	})
	return wrap(ctx, err)
}

func (b *Broker) entry(m messaging.Message) *redis.XAddArgs {
	values := make([]any, 0, 8)
	values = append(values, fieldID, m.ID)
	if m.Key != "" {
		values = append(values, fieldKey, m.Key)
	}
	if len(m.Headers) > 0 {
		headers, _ := json.Marshal(m.Headers) // UTF-8, as Prepare has seen
		values = append(values, fieldHeaders, headers)
	}
	if len(m.Body) > 0 {
		values = append(values, fieldBody, m.Body)
	}
	return &redis.XAddArgs{Stream: b.stream(m.Topic), Values: values}
}

func wrap(ctx context.Context, err error) error { return adapter.Wrap(ctx, "messagingredis", err) }

// entry is one delivery.
type entry struct {
	topic   string
	id      string // of the stream
	at      time.Time
	message redis.XMessage
	lost    atomic.Bool // another member has taken it
}

// delivery decodes afresh each time, since a handler may change what it gets.
func (e *entry) delivery() messaging.Delivery {
	text := func(field string) string {
		s, _ := e.message.Values[field].(string)
		return s
	}
	d := messaging.Delivery{
		Message: messaging.Message{ID: text(fieldID), Topic: e.topic, Key: text(fieldKey), Body: []byte(text(fieldBody))},
		Time:    e.at,
	}
	if headers := text(fieldHeaders); headers != "" {
		// What another program wrote under our field is left out, not fatal.
		_ = json.Unmarshal([]byte(headers), &d.Headers)
	}
	if d.ID == "" { // not published by this package
		d.ID = e.id
	}
	return d
}

// timeOf reads the server's clock out of a stream id.
func timeOf(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
