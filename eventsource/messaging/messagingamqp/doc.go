// Package messagingamqp is a message broker on RabbitMQ 3.10 or newer (AMQP 0-9-1,
// through amqp091-go); see package messaging for what topics and groups promise. It
// is a module of its own.
//
//	broker, err := messagingamqp.Open(ctx, messagingamqp.Config{URL: "amqp://user:secret@127.0.0.1/"})
//	err = broker.Declare(ctx, "email-queue", "mailer") // from now on nothing is missed
//	go broker.Subscribe(ctx, messaging.Subscription{Topics: []string{"email-queue"}, Group: "mailer"}, send)
//	err = broker.Publish(ctx, messaging.Message{Topic: "email-queue", Body: mail})
//
// # How it maps
//
// A topic is a durable fanout exchange, a group the durable queue topic.group bound
// to it. Messages are persistent, published as mandatory, and confirmed: RabbitMQ
// confirms what it cannot route, so without that a topic that no group has declared
// would lose messages silently. Here they are ErrNoRoute.
//
// Dead letters go to the exchange of their topic, topic.group.dead, which has the
// queue of a group "parked", so that they are kept even if nobody subscribes.
//
// # Attempts
//
// Queues are quorum queues, which count deliveries, so that a message that kills
// every process that handles it reaches the dead letter topic. They count those too
// that a member had received and not begun when it ended. A message that waits for
// its next attempt is held unacknowledged; RabbitMQ takes back what is held for 30
// minutes, so a wait is cut to 10.
//
// Keys are kept in order within a member.
package messagingamqp
