package eventsource

import (
	"context"
	"iter"
	"time"
)

// Store keeps events for ever, in one order. [Memory] is one; packages
// eventfile and eventsql have durable ones. Package eventtest holds the
// definition in code, TestStore, which every implementation should run.
//
// Its methods are safe for concurrent use. One that ctx ends returns an error
// that matches context.Cause(ctx).
type Store interface {
	// Append writes all events or none, in the order given, and returns when
	// they are durable. The conditions must hold at that instant; without any,
	// an append never conflicts. No events but conditions: checks them, and
	// tracks. Errors:
	//
	//	*ConflictError  a condition does not hold, nothing is written
	//	ErrInvalid      the call breaks a rule of Validate, or some of the ids are
	//	                known and others not, or not with these streams and types
	//	ErrUncertain    nobody knows: append the same ids again
	//
	// Ids come before conditions: if all ids are known, with these streams and
	// types and in this order, the append is a repeat. Its Result then is a
	// Duplicate, and nothing is evaluated or written.
	Append(ctx context.Context, events []Event, conds ...Condition) (Result, error)

	// Read yields every committed event that matches q, as of the start of the
	// loop, in the order of positions. It holds no lock while it yields, so the
	// loop may append. It ends after one error.
	Read(ctx context.Context, q Query, o ReadOptions) iter.Seq2[Recorded, error]

	// Head is a position at or below which nothing will ever appear or change.
	// Read may already show committed events above it.
	Head(ctx context.Context) (Position, error)

	// Wait returns nil once Head is greater than after.
	Wait(ctx context.Context, after Position) error
}

// ReadOptions narrow a read. The bounds are ANDed; a zero field is no bound.
type ReadOptions struct {
	// After and UpTo bound positions: After < position <= UpTo.
	After, UpTo Position
	// AfterVersion and UpToVersion bound versions in the same way. A read with
	// either leaves out events without a stream.
	AfterVersion, UpToVersion uint64
	// AsOf leaves out events whose Time is after it. On one stream what remains
	// always is a prefix.
	AsOf time.Time
	// Backward yields the newest first; Limit then counts from the newest.
	Backward bool
	// Limit is the most events to yield. Zero means all; a negative one is
	// refused with ErrInvalid.
	Limit int
}

// Result tells where an append went.
type Result struct {
	// First and Last are the positions of the first and the last event; both
	// are Head if the append had no events.
	First, Last Position
	// Version is the last event's version, 0 without a stream.
	Version uint64
	// Duplicate says that the ids were recorded before, and nothing was
	// written now; the other fields tell where they are.
	Duplicate bool
}
