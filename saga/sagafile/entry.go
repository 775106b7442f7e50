package sagafile

import (
	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// entry is what the store keeps of a saga in memory.
type entry struct {
	id          string
	def         *definition
	fingerprint string
	step        string // of def.steps, so that it costs no bytes of its own
	failure     *failure
	box         *mailbox // nil until the first message

	owner *owner // nil: unowned, or, while the log is replayed, see held
	queue *dueQueue

	epoch, seq, mail, read   uint64
	started, updated, wakeAt int64 // ns; wakeAt 0: not due by time

	first, last wal.Ref // oldest frame that matters, newest of the log's chain
	bytes       int64   // of all its frames
	changes     uint32  // counts what would make a copy stale

	claims, attempt int32
	place           int32 // in queue; -1: not there
	state           saga.State
	pivoted         bool
	held            bool // some owner has it; of use in replay alone
}

// definition is what many sagas have in common.
type definition struct {
	name, shape string
	version     int
	any, exact  string // as a lease names it
	steps       map[string]string
}

type failure struct{ code, cause string }

// mailbox holds where the unread messages are, and all keys.
type mailbox struct {
	unread []letter
	keys   map[string]struct{}
}

type letter struct {
	seq uint64
	ref wal.Ref
}

func (e *entry) unread() int {
	if e.box == nil {
		return 0
	}
	return len(e.box.unread)
}

func (e *entry) knows(key string) bool {
	if key == "" || e.box == nil {
		return false
	}
	_, ok := e.box.keys[key]
	return ok
}

// deliver notes a message.
func (e *entry) deliver(seq uint64, key string, ref wal.Ref) {
	if e.box == nil {
		e.box = &mailbox{}
	}
	if key != "" {
		if e.box.keys == nil {
			e.box.keys = map[string]struct{}{}
		}
		e.box.keys[key] = struct{}{}
	}
	e.mail = seq
	e.box.unread = append(e.box.unread, letter{seq, ref})
}

// forgetRead lets go of messages that are in the log.
func (e *entry) forgetRead(read uint64) {
	e.read = max(e.read, read)
	if e.box == nil {
		return
	}
	n := 0
	for n < len(e.box.unread) && e.box.unread[n].seq <= read {
		n++
	}
	if e.box.unread = e.box.unread[n:]; len(e.box.unread) == 0 {
		e.box.unread = nil
	}
}

// summary is the header as the world sees it.
func (e *entry) summary() saga.Summary {
	s := saga.Summary{
		ID: e.id, Name: e.def.name, Version: e.def.version, Shape: e.def.shape, Fingerprint: e.fingerprint,
		State: e.state, Step: e.step, Attempt: int(e.attempt), Pivoted: e.pivoted,
		Epoch: e.epoch, Seq: e.seq, Mail: e.mail, Claims: int(e.claims),
		Started: timeOf(e.started), Updated: timeOf(e.updated), WakeAt: timeOf(e.wakeAt),
	}
	if e.failure != nil {
		s.Code, s.Cause = e.failure.code, e.failure.cause
	}
	if e.owner != nil {
		s.Owner = e.owner.name
	}
	return s
}

// set takes over what a header says that a write may change.
func (e *entry) set(sum *saga.Summary) {
	e.state, e.pivoted, e.attempt = sum.State, sum.Pivoted, int32(sum.Attempt)
	e.step = e.def.step(sum.Step)
	switch {
	case sum.Code == "" && sum.Cause == "":
		e.failure = nil
	case e.failure == nil || e.failure.code != sum.Code || e.failure.cause != sum.Cause:
		e.failure = &failure{sum.Code, sum.Cause}
	}
}

// step returns name with the memory that all sagas of the definition share.
func (d *definition) step(name string) string {
	if known, ok := d.steps[name]; ok {
		return known
	}
	if len(d.steps) < maxSteps {
		d.steps[name] = name
	}
	return name
}

// maxSteps a definition has; a caller that makes up names gains nothing.
const maxSteps = 1024
