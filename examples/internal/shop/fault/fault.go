// Package fault breaks a service on purpose. A Rule says what goes wrong, in the
// words of the scenario files; a Set applies the rules of one service to its
// requests. The same seed and rules give the same faults under any interleaving:
// whether the n-th request that meets a rule is hit depends on the seed, the
// rule's id and n alone, never on one source of draws that requests share.
//
// Faults act in the server, behind a real connection, also those of one caller
// alone. A fault in the client would test the client's idea of a fault: no
// connection would stay open, no goroutine of the server would be held, and nobody
// would notice that they are not let go.
package fault

import (
	"cmp"
	"strings"
	"time"
)

// Kind is what a rule does to a request, or to a message of the broker.
type Kind string

// The kinds that exist.
const (
	Latency   Kind = "latency"   // wait, then go on
	Error     Kind = "error"     // answer at once with Status
	Blackhole Kind = "blackhole" // never answer
	Reset     Kind = "reset"     // reset the connection before anything is done
	Drop      Kind = "drop"      // do it, then cut the connection: the effect without the answer
	Refuse    Kind = "refuse"    // answer at once with 422: a definite no
	Crash     Kind = "crash"     // the process kills itself, at Point
	Down      Kind = "down"      // as if nobody were there
	Duplicate Kind = "duplicate" // broker: deliver each message N times
	Reorder   Kind = "reorder"   // broker: let up to N later messages overtake
)

// The points at which a process can die in the course of a request. A message is one as
// well: its handler has an effect, and the answer to it is the event that a Relay
// publishes in return.
const (
	Before = "before" // of the handler: nothing has happened
	Effect = "effect" // the handler has run, nobody has heard of it
	Answer = "answer" // the answer is out
)

// The two targets that are no service: they live in control, which cannot be
// broken, so what is broken is the way to them.
const (
	Broker = "broker"
	Cache  = "cache"
)

// Rule is one fault. The zero Share hits nothing; Parse sets it.
type Rule struct {
	ID      string        `json:"id"`
	Target  string        `json:"target"`           // a service, Broker or Cache
	Caller  string        `json:"caller,omitempty"` // only its requests; empty is everybody's
	Kind    Kind          `json:"kind"`
	Share   float64       `json:"share"`             // of requests that are hit, in (0, 1]
	Latency time.Duration `json:"latency,omitempty"` // ns
	Jitter  time.Duration `json:"jitter,omitempty"`  // up to so much is added, ns
	Status  int           `json:"status,omitempty"`
	Point   string        `json:"point,omitempty"` // of a crash
	N       int           `json:"n,omitempty"`     // copies, or places
	Path    string        `json:"path,omitempty"`  // prefix; empty is every path
	First   uint64        `json:"first,omitempty"` // of the requests that meet the rule, from 1; zero is from the first on
	Last    uint64        `json:"last,omitempty"`  // zero is for ever
	For     time.Duration `json:"for,omitempty"`   // then control clears it; zero is until cleared, ns
}

// Where is the target as it was written, CALLER>CALLEE for the requests of one
// caller.
func (r Rule) Where() string {
	if r.Caller == "" {
		return r.Target
	}
	return r.Caller + ">" + r.Target
}

// matches reports whether the rule is about requests of caller to path. A caller is
// a service, and so each of its replicas.
func (r Rule) matches(caller, path string) bool {
	return strings.HasPrefix(path, r.Path) && (r.Caller == "" || r.Caller == caller || strings.HasPrefix(caller, r.Caller+"-"))
}

// within reports whether the n-th request that meets the rule is among those that
// it is about.
func (r Rule) within(n uint64) bool {
	return n >= cmp.Or(r.First, 1) && (r.Last == 0 || n <= r.Last)
}
