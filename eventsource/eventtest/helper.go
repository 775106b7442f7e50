package eventtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

func is(err, target error) bool { return err != nil && errors.Is(err, target) }

// text shows a value in a message.
func text(v any) string { return fmt.Sprintf("%+v", v) }

// one is a single event in a stream.
func one(stream, typ string) []eventsource.Event { return in(stream, typ) }

// in are events of these types in one stream.
func in(stream string, types ...string) (events []eventsource.Event) {
	for _, typ := range types {
		events = append(events, eventsource.Event{Stream: stream, Type: typ})
	}
	return events
}

// tagged is an event in no stream.
func tagged(typ string, tags ...string) []eventsource.Event {
	return []eventsource.Event{{Type: typ, Tags: tags}}
}

// withIDs gives events their ids.
func withIDs(events []eventsource.Event, ids ...string) []eventsource.Event {
	events = slices.Clone(events)
	for i := range events {
		events[i].ID = ids[i]
	}
	return events
}

// byTags selects events of a type, "" for any, with all of the tags.
func byTags(typ string, tags ...string) eventsource.Query {
	it := eventsource.Item{Tags: tags}
	if typ != "" {
		it.Types = []string{typ}
	}
	return eventsource.Query{it}
}

func (s store) conflictOf(err error) *eventsource.ConflictError {
	s.Helper()
	c, ok := errors.AsType[*eventsource.ConflictError](err)
	if !ok {
		s.Fatalf("the error is %T %v, want a *ConflictError", err, err)
	}
	if tracks := isTrack(c.Condition); is(err, eventsource.ErrTracked) != tracks || is(err, eventsource.ErrConflict) == tracks {
		s.Fatalf("the error of %v matches the sentinel of another condition: %v", c.Condition, err)
	}
	if c.Retryable() {
		s.Fatalf("%v calls itself retryable", err)
	}
	return c
}

func isTrack(c eventsource.Condition) bool {
	_, _, ok := c.Track()
	return ok
}

// same compares an event that was read with one that was appended, whose ID
// may have been left to the store. Tags are sets, nil is empty, schema 0 is 1.
func same(got, want eventsource.Event) bool {
	return (want.ID == "" || got.ID == want.ID) && got.Stream == want.Stream && got.Type == want.Type &&
		got.Schema == max(1, want.Schema) && slices.Equal(set(got.Tags), set(want.Tags)) &&
		len(got.Tags) == len(set(want.Tags)) && sameMeta(got.Meta, want.Meta) && string(got.Data) == string(want.Data)
}

func sameMeta(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if other, ok := b[k]; !ok || other != v {
			return false
		}
	}
	return true
}

func set(tags []string) []string { return slices.Compact(slices.Sorted(slices.Values(tags))) }

// sameRecords compares two reads.
func sameRecords(a, b []eventsource.Recorded) bool {
	return slices.EqualFunc(a, b, func(x, y eventsource.Recorded) bool {
		return same(x.Event, y.Event) && x.ID == y.ID && x.Position == y.Position && x.Version == y.Version && x.Time.Equal(y.Time)
	})
}

// positions are for messages.
func positions(all []eventsource.Recorded) (p []eventsource.Position) {
	for _, r := range all {
		p = append(p, r.Position)
	}
	return p
}

// attempt is one of several appends that start at the same time.
type attempt struct {
	result eventsource.Result
	err    error
}

// race runs fn n times at once and returns what came of each.
func race(n int, fn func(i int) (eventsource.Result, error)) []attempt {
	attempts := make([]attempt, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			attempts[i].result, attempts[i].err = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return attempts
}

// ended returns a context that has ended, and its cause.
func ended() (context.Context, error) {
	cause := errors.New("eventtest: the caller has left")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx, cause
}
