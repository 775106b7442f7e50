// Package messagingkafka is a message broker on Kafka, through franz-go; see
// package messaging for what topics and groups promise. It is a module of its own.
//
//	broker, err := messagingkafka.New(messagingkafka.Config{Brokers: []string{"127.0.0.1:9092"}})
//	sub := messaging.Subscription{Topics: []string{"order-events"}, Group: "inventory-service", Concurrency: 8}
//	go broker.Subscribe(ctx, sub, reserve)
//	err = broker.Publish(ctx, messaging.Message{Topic: "order-events", Key: "order-17", Body: event})
//
// # How it maps
//
// Topic and group are Kafka's. The key is the record's key, and keyed records go to
// the partition that Java clients choose; so a key keeps its order over all members
// of a group. The ID travels in the header keelson-id.
//
// Publish is idempotent and waits for all in-sync replicas.
//
// # Offsets
//
// Handlers of one member run in parallel, while Kafka knows one offset per
// partition. What is committed is the end of the unbroken prefix of acknowledged
// messages: one that waits for its next attempt holds the commit back, and a crash
// repeats it and what was acknowledged behind it. A member holds at most 1,024
// messages that are not acknowledged.
//
// When a partition goes to another member, messages that have not begun are
// dropped, running handlers are waited for, half the rebalance timeout at most, and
// what is acknowledged then is committed. Kafka does not count deliveries: after a
// crash Attempt begins at 1 again, so a message that kills its process does so
// every time.
package messagingkafka
