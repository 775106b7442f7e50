package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingamqp"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingkafka"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/internal/engine"
)

// messagingRows carry messages of 256 bytes from publishers to one handler of one
// group. "one at a time" is the time from Publish until the handler has said that it
// runs, with its median and 99th percentile; "flow" is the time between two messages
// handled, with eight publishers.
func messagingRows() []row {
	rows := []row{}
	for _, c := range []struct {
		name    string
		ours    func(b *testing.B) (line, func())
		peer    string
		theirs  func(b *testing.B) (line, func())
		targets [2]float64 // one at a time, flow
	}{
		{"Memory", memoryLine, "watermill v1.5.1, gochannel", gochannelLine, [2]float64{0.5, 0.5}},
		{"Redis", redisLine, "watermill-redisstream v1.4.5", redisstreamLine, [2]float64{0, 1}},
		{"RabbitMQ", rabbitLine, "watermill-amqp v3.0.2", watermillRabbitLine, [2]float64{}},
		{"Kafka, kfake", kafkaLine, "", nil, [2]float64{}},
	} {
		for i, shape := range []struct {
			name string
			run  func(b *testing.B, open func(b *testing.B) (line, func()))
		}{{"one at a time", oneAtATime}, {"flow", flow}} {
			r := row{name: "messaging: " + c.name + ", " + shape.name, ours: func(b *testing.B) { shape.run(b, c.ours) }, allocs: 1000}
			if c.theirs != nil {
				r.peers = []peer{{c.peer, func(b *testing.B) { shape.run(b, c.theirs) }, c.targets[i]}}
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// A line carries messages to a handler.
type line struct {
	publish func() error
	handled <-chan struct{}
}

var (
	messageBody = make([]byte, 256)
	topics      atomic.Int64 // each line has a topic of its own
)

func oneAtATime(b *testing.B, open func(b *testing.B) (line, func())) {
	l, end := open(b)
	defer end()
	var took latencies
	last := time.Now()
	for b.Loop() {
		if err := l.publish(); err != nil {
			b.Fatal(err)
		}
		<-l.handled
		now := time.Now()
		took.add(now.Sub(last))
		last = now
	}
	took.report(b)
}

// timed runs a benchmark of calls one after another, and tells how long they took.
func timed(b *testing.B, call func(i int)) {
	var took latencies
	for i := 0; b.Loop(); i++ {
		begun := time.Now()
		call(i)
		took.add(time.Since(begun))
	}
	took.report(b)
}

// latencies are the last 65,536.
type latencies struct {
	all [1 << 16]time.Duration
	n   int
}

func (l *latencies) add(d time.Duration) {
	l.all[l.n%len(l.all)] = d
	l.n++
}

func (l *latencies) report(b *testing.B) {
	all := l.all[:min(l.n, len(l.all))]
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2]), "p50-ns")
	b.ReportMetric(float64(all[len(all)*99/100]), "p99-ns")
}

// flow has at most 256 messages on their way.
func flow(b *testing.B, open func(b *testing.B) (line, func())) {
	l, end := open(b)
	defer end()
	const publishers, window = 8, 256
	jobs, room := make(chan struct{}), make(chan struct{}, window)
	var group, drain sync.WaitGroup
	for range publishers {
		group.Go(func() {
			for range jobs {
				if err := l.publish(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	drain.Go(func() {
		for range l.handled {
			<-room
		}
	})
	for b.Loop() {
		room <- struct{}{}
		jobs <- struct{}{}
	}
	close(jobs)
	group.Wait()
	for range window { // full again: all are handled
		room <- struct{}{}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// broker is a line of keelson's.
func broker(b *testing.B, pub messaging.Publisher, sub messaging.Subscriber, ready func(topic string) error, release func()) (line, func()) {
	topic := fmt.Sprint("bench-", topics.Add(1))
	handled := make(chan struct{}, 1024)
	ctx, cancel := context.WithCancel(context.Background())
	if ready != nil {
		if err := ready(topic); err != nil {
			b.Fatal(err)
		}
	}
	var group sync.WaitGroup
	group.Go(func() {
		_ = sub.Subscribe(ctx, messaging.Subscription{Topics: []string{topic}, Group: "g"}, func(context.Context, messaging.Delivery) error {
			handled <- struct{}{}
			return nil
		})
	})
	l := line{handled: handled, publish: func() error { return pub.Publish(ctx, messaging.Message{Topic: topic, Body: messageBody}) }}
	if err := l.publish(); err != nil { // until the group is there
		b.Fatal(err)
	}
	<-handled
	return l, func() {
		cancel()
		group.Wait()
		close(handled)
		release()
	}
}

func memoryLine(b *testing.B) (line, func()) {
	m := messaging.NewMemory(messaging.Config{Retain: 1})
	return broker(b, m, m, nil, func() {})
}

func redisLine(b *testing.B) (line, func()) {
	r := messagingredis.New(redisClient(b), messagingredis.Config{})
	return broker(b, r, r, nil, func() {})
}

// rabbit is the node that all rounds share; closeEngines ends it.
var (
	rabbitStarted atomic.Bool
	rabbit        = sync.OnceValues(func() (*engine.Server, error) {
		rabbitStarted.Store(true)
		return engine.StartRabbitMQ(context.Background(), "")
	})
)

func rabbitLine(b *testing.B) (line, func()) {
	s, err := rabbit()
	if err != nil {
		b.Fatal(err)
	}
	r, err := messagingamqp.Open(context.Background(), messagingamqp.Config{URL: s.URL()})
	if err != nil {
		b.Fatal(err)
	}
	return broker(b, r, r, func(topic string) error { return r.Declare(context.Background(), topic, "g") }, func() { r.Close() })
}

func kafkaLine(b *testing.B) (line, func()) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		b.Fatal(err)
	}
	k, err := messagingkafka.New(messagingkafka.Config{Brokers: c.ListenAddrs(), Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	return broker(b, k, k, nil, func() { k.Close(); c.Close() })
}

// watermillLine acknowledges as watermill's router does, one message after another.
func watermillLine(b *testing.B, pub message.Publisher, sub message.Subscriber) (line, func()) {
	topic := fmt.Sprint("bench-", topics.Add(1))
	ctx, cancel := context.WithCancel(context.Background())
	msgs, err := sub.Subscribe(ctx, topic)
	if err != nil {
		b.Fatal(err)
	}
	handled := make(chan struct{}, 1024)
	var group sync.WaitGroup
	group.Go(func() {
		for m := range msgs {
			handled <- struct{}{}
			m.Ack()
		}
	})
	l := line{handled: handled, publish: func() error { return pub.Publish(topic, message.NewMessage(watermill.NewUUID(), messageBody)) }}
	if err := l.publish(); err != nil {
		b.Fatal(err)
	}
	<-handled
	return l, func() {
		cancel()
		_ = sub.Close()
		group.Wait()
		close(handled)
		_ = pub.Close()
	}
}

func gochannelLine(b *testing.B) (line, func()) {
	g := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 1024}, watermill.NopLogger{})
	return watermillLine(b, g, g)
}

// watermillRabbitLine has what ours has: quorum queues, confirmed publishing, and one
// delivery on its way to a handler.
func watermillRabbitLine(b *testing.B) (line, func()) {
	s, err := rabbit()
	if err != nil {
		b.Fatal(err)
	}
	cfg := amqp.NewDurablePubSubConfig(s.URL(), amqp.GenerateQueueNameTopicNameWithSuffix("g"))
	cfg.Queue.Arguments = amqp091.Table{"x-queue-type": "quorum"}
	cfg.Publish.ConfirmDelivery, cfg.Publish.ChannelPoolSize = true, 8
	pub, err := amqp.NewPublisher(cfg, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := amqp.NewSubscriber(cfg, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	return watermillLine(b, pub, sub)
}

func redisstreamLine(b *testing.B) (line, func()) {
	client := redisClient(b)
	pub, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: client}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: client, ConsumerGroup: "g"}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	return watermillLine(b, pub, sub)
}
