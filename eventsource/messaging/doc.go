// Package messaging carries events and tasks between services: a message, a
// publisher and a subscriber, small enough that every broker can be both, and
// strict enough that a handler need not know which one it is.
//
// The nearest thing is a channel between processes. The difference: messages are
// acknowledged, come again when their handler fails, wait as long as it asks,
// keep their order per key, and end in a dead letter topic when nothing helps.
//
//	broker := messaging.NewMemory(messaging.Config{})
//	sub := messaging.Subscription{Topics: []string{"order-events"}, Group: "inventory-service"}
//	go broker.Subscribe(ctx, sub, func(ctx context.Context, d messaging.Delivery) error {
//		return reserve(ctx, d.Key, d.Body) // nil acknowledges, an error brings it back
//	})
//	err := broker.Publish(ctx, messaging.Message{Topic: "order-events", Key: "order-17", Body: event})
//
// A topic is both things that brokers offer. Each group gets every message, which
// is publish and subscribe; the members of one group share them, which is a work
// queue.
//
// # Which broker
//
//	                  Memory           messagingredis      messagingkafka       messagingamqp
//	Publish means     in memory        as Redis is set     all in-sync          a durable queue
//	                                                       replicas             confirmed
//	order per key     in the group     in each member      in the group         in each member
//	attempts counted  no               yes                 no                   yes, on quorum
//	over a crash                                                                queues
//	a new group       oldest retained  oldest entry        earliest offset      Declare, or first
//	begins at                                                                   Subscribe
//
// Memory is in this package and links the standard library alone; the others are
// packages of their own, messagingkafka and messagingamqp also modules.
//
// # At least once
//
// Every broker here delivers at least once: a process that dies after the effect
// and before the acknowledgement has its message delivered again. Package outbox
// makes the effect exactly one, in the database where the effect is, and publishes
// what a transaction says if and only if it commits. Where the events are in a
// store of package eventsource, [Relay] publishes them from there: the log is the
// outbox.
//
// # Who waits
//
// While a message waits for its next attempt those behind it with its key wait
// too, since overtaking it would break the order that the key promises. Messages
// without a key, or of other keys, go on. A message that never succeeds holds up
// its key for the sum of the backoffs, then goes to the dead letter topic with the
// reason in its headers, and is an ordinary message there.
package messaging
