package messaging

import (
	"context"
	"maps"
	"strconv"

	"github.com/keelson-go/keelson/eventsource"
)

// Headers of messages that [Relay] publishes, beside the event's Meta.
const (
	headerType     = "keelson-type"
	headerSchema   = "keelson-schema"
	headerVersion  = "keelson-version"
	headerPosition = "keelson-position"
)

// Relay publishes, in order, the events that q matches to a topic: the log is the
// outbox. Run the projection it returns with the store's checkpoints. A message's
// ID is the event's, its Key the stream, its Body the data; its Headers are the
// event's Meta and keelson-type, keelson-schema, keelson-version and
// keelson-position. A message is published again if the process dies before its
// checkpoint is saved; its ID shows it.
//
// Fields of the projection, such as Partitions or Park, may be changed before Run.
func Relay(name string, q eventsource.Query, pub Publisher, topic string) eventsource.Projection {
	return eventsource.Projection{
		Name:  name,
		Query: q,
		Apply: func(ctx context.Context, b eventsource.Batch) error {
			if len(b.Events) == 0 {
				return nil
			}
			msgs := make([]Message, len(b.Events))
			for i, e := range b.Events {
				msgs[i] = relayed(e, topic)
			}
			return pub.Publish(ctx, msgs...)
		},
	}
}

func relayed(e eventsource.Recorded, topic string) Message {
	headers := make(map[string]string, len(e.Meta)+4)
	maps.Copy(headers, e.Meta)
	headers[headerType] = e.Type
	headers[headerSchema] = strconv.Itoa(max(e.Schema, 1))
	headers[headerVersion] = strconv.FormatUint(e.Version, 10)
	headers[headerPosition] = strconv.FormatUint(uint64(e.Position), 10)
	return Message{ID: e.ID, Topic: topic, Key: e.Stream, Headers: headers, Body: e.Data}
}
