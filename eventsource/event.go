package eventsource

import "time"

// Position is the order of all events of one store: from 1, strictly
// increasing, holes allowed. 0 is before the first event.
type Position uint64

// Event is what a caller appends. A store copies it: changing Tags, Meta or
// Data after Append changes nothing in the store.
//
// Texts (ID, Stream, Type, tags, keys of Meta) are UTF-8 without NUL, of at
// most 255 bytes. [Validate] has all limits.
type Event struct {
	// ID names the event for ever: an append of the same ids is recognised as
	// a repeat, see [Result]. "" lets the store set a UUIDv7.
	ID string
	// Stream is what the event happened to, such as "account-7"; the store
	// numbers the events of a stream. "" is in no stream: the event is found by
	// its type and tags alone.
	Stream string
	// Type is the stored name of what happened, such as "account.deposited".
	// Required.
	Type string
	// Schema is the layout of Data. Zero means 1, and is read as 1.
	Schema int
	// Tags are a set of names that queries can ask for, such as "customer:42".
	// Repeated ones are stored once.
	Tags []string
	// Meta is audit data. Customary keys: actor, correlation, causation,
	// traceparent. Values are UTF-8 without NUL; all of it has at most 64 KiB.
	Meta map[string]string
	// Data is opaque to the store, any bytes up to 16 MiB.
	Data []byte
}

// Recorded is an event as a store returns it. Its slices and map are copies
// that belong to the caller; events read in one loop may share the memory
// behind them, so keep a copy of Data where one event of many is kept for long.
//
// An empty Tags, Meta or Data is not told apart from nil.
type Recorded struct {
	Event
	// Position orders the event among all of its store.
	Position Position
	// Version counts 1, 2, 3 ... without holes in Stream. 0 without a stream.
	Version uint64
	// Time is when the event was appended by the store's clock: UTC, in
	// microseconds. It never decreases within one stream.
	Time time.Time
}
