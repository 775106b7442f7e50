package saga

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// Store keeps, for each saga, a header, a log and a mailbox, and never interprets
// a record. [Memory] is one; packages sagafile and sagasql have durable ones.
// Package sagatest holds the definition in code, which every implementation
// should run. Two more methods are used where a store has them: Purge, as on
// Memory, and Durability() string, "memory", "fsync" or "relaxed".
//
// A store is safe for concurrent use. Its errors are retried, but for one with a
// method Retryable() bool that says false. A panic or a Goexit in what a coordinator
// calls by itself counts as an error of that call, and so does one in Commit.
type Store interface {
	// Commit stores all writes that are acceptable, durably and in one go, and
	// returns a verdict for each. After an error the outcome of all is unknown,
	// and repeating the same writes is harmless. Neither writes nor their Records
	// may be used once it has returned, also with an error: they are used again.
	Commit(ctx context.Context, writes []Write) ([]Verdict, error)

	// Poll renews the lease of an owner, frees the sagas of owners whose lease has
	// run out, and claims due ones. ErrFenced: the lease is gone.
	Poll(ctx context.Context, l Lease) (Work, error)

	// Post appends a message to a saga's mailbox and makes an unowned saga due,
	// unless it is Stuck. A Key that is there already, if not empty, is no error
	// and changes nothing. ErrNotFound, ErrTerminal; ErrConflict beyond 1,000
	// unread messages.
	Post(ctx context.Context, id string, r Record) error

	// Load returns a saga whole: header, log, and the messages not yet read.
	// ErrNotFound.
	Load(ctx context.Context, id string) (s Summary, log, mail []Record, err error)

	// List yields the headers that match, by id. It holds no lock while it yields
	// and ends after one error.
	List(ctx context.Context, f Filter) iter.Seq2[Summary, error]
}

// Write is one saga's part of a commit. It is accepted if the stored epoch is
// Summary.Epoch and the records follow the stored Seq; the saga then is as
// Summary says, but for the times, Mail and Claims, which the store sets (Claims
// to 0).
type Write struct {
	// Summary is the header afterwards. Epoch 0 creates the saga, at epoch 1. Owner
	// counts then alone: if it is not a live owner the saga is created unowned and
	// due; who thinks that it holds it is fenced as soon as somebody claims it. So
	// is a saga that is extended after its owner's lease has run out.
	Summary Summary

	// Records may be empty: the log stays, and Claims is 0. Their At is set by the store.
	Records []Record

	// Read: messages up to this one are in the log. Their bodies may go, their
	// keys stay.
	Read uint64

	// Release gives the saga up. It is due again after WakeIn on the store's
	// clock, by a message alone if WakeIn is negative.
	Release bool
	WakeIn  time.Duration
}

// Verdict is what became of a write.
type Verdict struct {
	// Err is nil also when this very write is stored already, else ErrFenced,
	// ErrNotFound or ErrConflict (on create: the id is another Fingerprint's).
	Err error

	// Mail is the number of messages ever posted, so that a running saga learns of
	// a cancel from its own write.
	Mail uint64

	// At is the store's clock at the commit.
	At time.Time

	// Found is, on create, the saga that was there.
	Found *Summary
}

// Lease is what an owner asks of [Store.Poll].
type Lease struct {
	// Owner is new for every incarnation of a process.
	Owner string

	// For is how long the lease holds from now. Zero ends it and frees its sagas.
	For time.Duration

	// Limit is how many sagas to claim at most, those due longest first.
	Limit int

	// Can names the definitions that may be claimed: "name@version/shape", or
	// "name@version" for any shape.
	Can []string

	// Only claims this unowned saga alone, due or not, ended or not, whatever Can
	// says.
	Only string
}

// Work is what [Store.Poll] found.
type Work struct {
	// Claimed sagas belong to the owner, at a new epoch.
	Claimed []Summary

	// Mail lists sagas of this owner with unread messages.
	Mail []string

	// Next is the time until the next saga in Can is due, negative if there is none.
	Next time.Duration

	// Foreign counts due sagas that are not in Can, to 1,000.
	Foreign int

	// Now is the store's clock.
	Now time.Time
}

// Filter chooses sagas; all set fields must hold.
type Filter struct {
	IDs, Names []string
	States     []State

	// Idle: no commit for at least this long.
	Idle time.Duration

	// After: ids greater than this one, to go on with a page.
	After string

	// Limit is the most to yield. Zero means all.
	Limit int
}

// Summary is the header beside a saga's log. Times are the store's clock.
type Summary struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Version     int    `json:"version"`
	Shape       string `json:"shape"`       // hash of the definition's structure
	Fingerprint string `json:"fingerprint"` // hash of name and encoded input

	State   State  `json:"state"`
	Step    string `json:"step,omitempty"` // the first unfinished call
	Attempt int    `json:"attempt,omitempty"`
	Code    string `json:"code,omitempty"` // of the first failure
	Cause   string `json:"cause,omitempty"`
	Pivoted bool   `json:"pivoted,omitempty"` // the pivot is done

	Owner  string `json:"owner,omitempty"` // empty when no process holds it
	Epoch  uint64 `json:"epoch"`
	Seq    uint64 `json:"seq"`              // of the last record
	Mail   uint64 `json:"mail,omitempty"`   // messages ever posted
	Claims int    `json:"claims,omitempty"` // since the last write

	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	WakeAt  time.Time `json:"wake_at,omitzero"`
}

// Record is a line of the log, a message in the mailbox, and what OnEvent gets.
type Record struct {
	Saga string `json:"-"` // filled in on reading
	Name string `json:"-"` // filled in on reading

	// Kind is one of start, resume, done, fail, refuse, park, wake, signal,
	// cancel, deadline, reverse, undone, undofail, stuck and resolve.
	Kind string `json:"kind"`

	Step    string `json:"step,omitempty"`
	Code    string `json:"code,omitempty"` // of a failure; the name of a signal; "sub" where a parent starts its child
	Error   string `json:"error,omitempty"`
	Key     string `json:"key,omitempty"` // of a signal
	Attempt int    `json:"attempt,omitempty"`

	// Seq counts from 1 without holes, apart for log and mailbox.
	Seq   uint64 `json:"seq"`
	Epoch uint64 `json:"epoch,omitempty"`

	// State is the saga's after this record.
	State State     `json:"state,omitempty"`
	At    time.Time `json:"at"`

	// Data holds changed fields, the input, a payload or a resolution.
	Data json.RawMessage `json:"data,omitempty"`
}
