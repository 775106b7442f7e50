// Package messagingredis is a message broker on Redis Streams, from Redis 6.2 on:
// one node, Sentinel or Cluster. A topic is a stream, a group a consumer group of
// it; see package messaging for what they promise.
//
//	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
//	broker := messagingredis.New(client, messagingredis.Config{})
//	go broker.Subscribe(ctx, messaging.Subscription{Topics: []string{"email-queue"}, Group: "mailer"}, send)
//	err := broker.Publish(ctx, messaging.Message{Topic: "email-queue", Body: mail})
//
// # What it costs, and what it keeps
//
// Publish is one round trip for all its messages, a delivery two: one reads it,
// together with others, one acknowledges. A published message is as durable as
// Redis is set to be; "appendfsync always" is what a database would call durable.
//
// A message stays in its stream until every group of the topic has acknowledged
// it; then it is trimmed, at most Config.MinIdle later. A topic without a group
// keeps everything. A group that is not used any more keeps everything too: remove
// it with XGROUP DESTROY.
//
// # Members that die
//
// A member renews what it holds every third of Config.MinIdle, however long its
// handlers take; what it does not renew others take over, with the number of
// deliveries, which Redis counts. So a message that kills every process that
// handles it reaches the dead letter topic. A member that ends in order hands over
// at once.
//
// Keys are kept in order within a member. With several, use one topic per shard,
// or a broker that keeps the order in the group.
package messagingredis
