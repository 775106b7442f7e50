package messagingkafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config are the settings of a [Broker].
type Config struct {
	// Brokers are seeds, host:port. At least one.
	Brokers []string

	// ClientID is shown in the cluster's logs and metrics. Empty means franz-go's.
	ClientID string

	// Partitions of topics that do not exist and are to be created, with the
	// cluster's default replication. Zero means that a topic is never created.
	Partitions int32

	// Options go to every client, before those that this package needs: TLS, SASL,
	// loggers. Nil means none.
	Options []kgo.Opt
}

// Broker is a messaging.Publisher and a messaging.Subscriber. It is safe for
// concurrent use. Publishing shares one client; each Subscribe has its own.
type Broker struct {
	cfg      Config
	producer *kgo.Client
	life     *adapter.Life

	mu    sync.Mutex
	known map[string]bool // topics that exist
}

// errClosed is returned after Close.
var errClosed = errors.New("messagingkafka: the broker is closed")

// headerID carries the message's ID.
const headerID = "keelson-id"

// New returns a broker. It does not wait for the cluster: Publish and Subscribe
// find out whether it is there. The error names what is wrong with cfg.
func New(cfg Config) (*Broker, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("messagingkafka: Config.Brokers is empty: want host:port of at least one")
	}
	if cfg.Partitions < 0 {
		return nil, fmt.Errorf("messagingkafka: Config.Partitions is %d: want zero, which never creates a topic, or more", cfg.Partitions)
	}
	cfg.Brokers, cfg.Options = slices.Clone(cfg.Brokers), slices.Clone(cfg.Options)
	b := &Broker{cfg: cfg, known: map[string]bool{}, life: adapter.NewLife(errClosed)}
	var err error
	b.producer, err = kgo.NewClient(b.options(
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2, as Java does
		kgo.ProducerLinger(0),
	)...)
	if err != nil {
		return nil, fmt.Errorf("messagingkafka: %w", err)
	}
	return b, nil
}

func (b *Broker) options(own ...kgo.Opt) []kgo.Opt {
	opts := slices.Clone(b.cfg.Options)
	opts = append(opts, kgo.SeedBrokers(b.cfg.Brokers...))
	if b.cfg.ClientID != "" {
		opts = append(opts, kgo.ClientID(b.cfg.ClientID))
	}
	return append(opts, own...)
}

// Close ends running subscriptions, waits for them, and closes the connections.
// Publish and Subscribe then return an error. It is idempotent.
func (b *Broker) Close() error {
	b.life.Close()
	b.producer.Close()
	return nil
}

// Publish implements messaging.Publisher. Nil means that all in-sync replicas have
// every message. It returns when ctx ends; what was sent may arrive all the same.
func (b *Broker) Publish(ctx context.Context, msgs ...messaging.Message) error {
	msgs, err := adapter.Prepare(msgs)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := b.life.Err(); err != nil {
		return err
	}
	records := make([]*kgo.Record, len(msgs))
	for i, m := range msgs {
		if err := b.create(ctx, m.Topic); err != nil {
			return wrap(ctx, err)
		}
		records[i] = record(m)
	}
	return wrap(ctx, b.produce(ctx, records))
}

// produce returns when all records have their answer or ctx ends. The client's own
// ProduceSync cannot leave records that are on their way.
func (b *Broker) produce(ctx context.Context, records []*kgo.Record) error {
	answers := make(chan error, len(records))
	for _, r := range records {
		b.producer.Produce(ctx, r, func(_ *kgo.Record, err error) { answers <- err })
	}
	var first error
	for range records {
		select {
		case err := <-answers:
			first = cmp.Or(first, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return first
}

// record has a body of its own, since it may outlive the call.
func record(m messaging.Message) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Value: slices.Clone(m.Body)}
	if m.Key != "" {
		r.Key = []byte(m.Key)
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerID, Value: []byte(m.ID)})
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(m.Headers[name])})
	}
	return r
}

// delivery decodes afresh each time, since a handler may change what it gets.
func delivery(r *kgo.Record) messaging.Delivery {
	d := messaging.Delivery{
		Message: messaging.Message{Topic: r.Topic, Key: string(r.Key), Body: slices.Clone(r.Value)},
		Time:    r.Timestamp,
	}
	for _, h := range r.Headers {
		if h.Key == headerID && d.ID == "" { // the first is ours
			d.ID = string(h.Value)
			continue
		}
		if d.Headers == nil {
			d.Headers = make(map[string]string, len(r.Headers))
		}
		d.Headers[h.Key] = string(h.Value)
	}
	if d.ID == "" { // not published by this package: where it stands is its name
		d.ID = fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
	}
	return d
}

// create makes the topic if Config.Partitions says so and it is not there.
func (b *Broker) create(ctx context.Context, topic string) error {
	if b.cfg.Partitions == 0 {
		return nil
	}
	b.mu.Lock()
	known := b.known[topic]
	b.mu.Unlock()
	if known {
		return nil
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, b.cfg.Partitions, -1
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, b.producer)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	b.mu.Lock()
	b.known[topic] = true
	b.mu.Unlock()
	return nil
}

// createPatiently tries until the cluster answers. What it refuses for good, such
// as a missing permission, is returned.
func (b *Broker) createPatiently(ctx context.Context, topic string) error {
	for {
		err := b.create(ctx, topic)
		refused, ok := errors.AsType[*kerr.Error](err)
		switch {
		case err == nil, ctx.Err() != nil, ok && !refused.Retriable:
			return err
		}
		if err := b.life.Err(); err != nil {
			return err
		}
		adapter.Sleep(ctx, time.Second)
	}
}

func wrap(ctx context.Context, err error) error { return adapter.Wrap(ctx, "messagingkafka", err) }
