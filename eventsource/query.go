package eventsource

import "slices"

// Query selects events: those that match at least one of its items. A nil
// Query matches nothing. A store refuses one with more than 128 items, or an
// item with more than 128 strings, see [Query.Validate].
type Query []Item

// Item is one alternative of a Query. An event matches it if each of the
// four fields does; an empty field does not restrict, so the zero Item matches
// every event.
type Item struct {
	Streams []string // the event is in any of them
	Types   []string // and has any of these types
	IDs     []string // and any of these ids; only in Read, a condition refuses them
	Tags    []string // and carries ALL of these tags
}

// All matches every event.
func All() Query { return Query{{}} }

// Stream matches the events of one stream.
func Stream(name string) Query { return Query{{Streams: []string{name}}} }

// Match tells whether q selects e. It is the one definition: every store
// agrees with it, whatever index it uses.
func (q Query) Match(e Event) bool {
	return slices.ContainsFunc(q, func(it Item) bool { return it.match(e) })
}

func (it Item) match(e Event) bool {
	return anyOf(it.Streams, e.Stream) && anyOf(it.Types, e.Type) && anyOf(it.IDs, e.ID) &&
		!slices.ContainsFunc(it.Tags, func(tag string) bool { return !slices.Contains(e.Tags, tag) })
}

func anyOf(wanted []string, s string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, s)
}
