package cache

import (
	"context"
	"time"
)

// Remote is the shared store behind L1, the L2 of all nodes of one cache.
// Package cacheredis has one on Redis, package cachetest one in memory, and
// cachetest.TestRemote is the contract as code.
//
// Beside each key's record a Remote keeps at most one lease: the right to fill
// it, held by whoever shows its token. Everything that changes a record from
// outside ends the lease, so that a fill which began earlier cannot be stored
// after it: these are the leases of Nishtala et al., "Scaling Memcache at
// Facebook" (NSDI 2013). It also keeps a counter that only rises, its value at
// the last Clear, and its value at the last invalidation of each tag.
//
// Lifetimes and leases count by the server's clock, and what is not a whole
// millisecond is rounded up to one. A method that returns an error may or may
// not have taken effect, for some keys or all. Results stand in the order of
// the arguments. Methods are safe for concurrent use and return soon after ctx
// ends. Slices that a Remote returns belong to the caller; those that it was given
// do so again once it has returned nil, while after an error it may still read
// them.
type Remote interface {
	// Get reads records. With a lease above zero it also grants a lease of that
	// length on each key that nobody holds one on, if the record is missing, is
	// past Fresh, was expired, or its query says Refresh. The queries name
	// different keys.
	Get(ctx context.Context, queries []Query, lease time.Duration) ([]Record, error)

	// Put stores records, or extends or releases leases, and tells for each fill
	// whether it did. One that is refused is no error. The fills name different
	// keys.
	Put(ctx context.Context, fills []Fill) (stored []bool, err error)

	// Invalidate applies m: it removes the records of m.Keys, or marks them as
	// Expired if m is Soft, and ends their leases; then it stamps m.Tags, or
	// Clear, with a new value of the counter. It returns m with Generation set to
	// the counter, and with Seq set if it has published m on the Bus as well. The
	// work does not depend on how many records carry a tag.
	Invalidate(ctx context.Context, m Message) (Message, error)

	// Generations reads the counter, and the stamps of Clear and of the tags. A
	// Remote that has lost its stamps reports that as a Clear.
	Generations(ctx context.Context, tags []string) (Generations, error)
}

// Query asks a [Remote] for one record.
type Query struct {
	Key     string
	Version uint64 // of the copy held (0: none): an equal record comes without Data
	Refresh bool   // lease although fresh, if the record still has Version or Version is 0
}

// Record is what a [Remote] has under a key. The zero Record is nothing.
type Record struct {
	Data    []byte        // nil: nothing stored, or the Version asked with
	Version uint64        // of the fill that stored it; 0: nothing stored
	Token   uint64        // of the lease that this Get granted; 0: none
	TTL     time.Duration // life left by the server's clock; 0: no end
	Expired bool          // by a Soft message
	Held    bool          // somebody else holds the lease
}

// Fill is one record to store in a [Remote], or a lease to extend or release.
type Fill struct {
	Key     string
	Data    []byte        // nil: TTL > 0 extends the lease to that much from now, TTL 0 releases it
	Version uint64        // of the record: random, not 0
	Token   uint64        // stored only while it is the key's lease, which ends with that; 0: unconditional, ends the lease of others
	TTL     time.Duration // whole life; 0: no end
	Fresh   time.Duration // from then on Get may grant a lease beside the record; 0: never
}

// Generations are the counter of a [Remote] and the stamps taken from it. What
// was loaded while the counter stood at g is dead if Clear or a tag of its own
// has a stamp above g.
type Generations struct {
	Now   uint64   // the counter
	Clear uint64   // its value at the last Clear
	Tags  []uint64 // and at the last invalidation of each tag asked for; 0: none in 8 days
}

// Bus carries invalidations between the nodes of one cache. cachetest.TestBus
// is the contract as code. Methods are safe for concurrent use.
type Bus interface {
	// Publish sends m to all subscribers, the caller's own among them. Nil means
	// that m has its place in the order. The bus gives out Seq and ignores the
	// one in m.
	Publish(ctx context.Context, m Message) error

	// Subscribe calls deliver, in the order of Seq and on one goroutine, until
	// ctx ends or the connection breaks, and returns why. It has returned before
	// it would call deliver again.
	//
	// First comes a message that has only Seq: delivery starts behind it. It
	// equals after if nothing is lost since; after 0 means the head. Then come
	// the messages and, at least once a second, another one that has only Seq:
	// everything up to Seq has been delivered. Whoever finds in a message a Seq
	// that is not the last one plus 1, or in one that has only Seq another than
	// the last, has missed something; so has whoever waits for them in vain.
	Subscribe(ctx context.Context, after uint64, deliver func(Message)) error
}

// Message is one invalidation. One that has only Seq is a position on the
// [Bus], not an invalidation.
type Message struct {
	Seq        uint64   // position on the bus, dense; 0: the bus has none, each Subscribe is a gap
	Generation uint64   // the Remote's counter
	Origin     uint64   // id of the Cache that published it
	Keys, Tags []string // at most 1000 each
	Soft       bool     // Keys stay, marked as Expired
	Clear      bool     // everything
}
