package eventsource

import "fmt"

// Condition must hold at the instant of an append, or nothing is written and
// the append returns a [*ConflictError]. Conditions are ANDed and may name what
// the append does not write. The kinds are [NoStream], [AtVersion], [Exists],
// [NoneSince] and [Track]; the zero value is none of them and is refused.
//
// Its methods are for authors of stores: each returns the arguments of one
// kind, and ok, which says whether the condition is of that kind.
type Condition struct {
	kind  kind
	name  string // stream or source
	num   uint64 // version or position
	query Query
}

type kind uint8

const (
	kindVersion kind = iota + 1 // zero is no kind
	kindExists
	kindNoneSince
	kindTrack
)

// NoStream holds if the stream has no event. It is AtVersion(stream, 0).
func NoStream(stream string) Condition { return AtVersion(stream, 0) }

// AtVersion holds if the version of the stream's last event is v; 0 says that
// the stream has none. The append need not write to it.
func AtVersion(stream string, v uint64) Condition {
	return Condition{kind: kindVersion, name: stream, num: v}
}

// Exists holds if the stream has at least one event.
func Exists(stream string) Condition { return Condition{kind: kindExists, name: stream} }

// NoneSince holds if no event after `after` matches q: the condition of a
// dynamic consistency boundary (DCB, see dcb.events). A nil q always holds.
//
// after comes from [Store.Head], called before the read that the decision
// rests on: h := Head; Read(q, UpTo: h); Append(..., NoneSince(q, h)). The last
// position read is no substitute, since a slower transaction may commit below
// it.
func NoneSince(q Query, after Position) Condition {
	return Condition{kind: kindNoneSince, num: uint64(after), query: q}
}

// Track holds if p is beyond what was tracked for source, and records p in the
// same append: the exactly-once mark of a consumer whose output is events. What
// is tracked is readable as checkpoint "track/<source>", see [Checkpoints].
func Track(source string, p Position) Condition {
	return Condition{kind: kindTrack, name: source, num: uint64(p)}
}

// Version returns the arguments of [AtVersion]; v is 0 for [NoStream].
func (c Condition) Version() (stream string, v uint64, ok bool) {
	return c.args(kindVersion)
}

// Exists returns the argument of [Exists].
func (c Condition) Exists() (stream string, ok bool) {
	stream, _, ok = c.args(kindExists)
	return stream, ok
}

// NoneSince returns the arguments of [NoneSince].
func (c Condition) NoneSince() (q Query, after Position, ok bool) {
	if c.kind != kindNoneSince {
		return nil, 0, false
	}
	return c.query, Position(c.num), true
}

// Track returns the arguments of [Track].
func (c Condition) Track() (source string, p Position, ok bool) {
	source, num, ok := c.args(kindTrack)
	return source, Position(num), ok
}

func (c Condition) args(k kind) (name string, num uint64, ok bool) {
	if c.kind != k {
		return "", 0, false
	}
	return c.name, c.num, true
}

// String gives the call that made the condition, such as
// `AtVersion("account-7", 3)`.
func (c Condition) String() string {
	switch c.kind {
	case kindVersion:
		return fmt.Sprintf("AtVersion(%q, %d)", c.name, c.num)
	case kindExists:
		return fmt.Sprintf("Exists(%q)", c.name)
	case kindNoneSince:
		return fmt.Sprintf("NoneSince(%+v, %d)", []Item(c.query), c.num)
	case kindTrack:
		return fmt.Sprintf("Track(%q, %d)", c.name, c.num)
	default:
		return "Condition{}"
	}
}
