package eventsource

// Decider holds the pure functions of one kind of decision: C is the command,
// E the event, S the state that a decision needs. They do no I/O, and may run
// several times for one command.
//
// The type is a plain struct, so it is tested without a store: package eventtest
// has given/when/then for it.
type Decider[C, E, S any] struct {
	// Initial returns the state before the first event. Nil means the zero S.
	// With an S that holds maps or pointers it must return a fresh one each time.
	Initial func() S
	// Evolve returns the state after an event. It may change s in place and
	// return it. Required.
	Evolve func(s S, e E) S
	// Decide returns what happens, or nothing, or an error, which Handle returns
	// as it is. Required.
	Decide func(s S, cmd C) ([]E, error)
	// Version names the present meaning of Evolve and S: change it with them, and
	// snapshots of before are out of use. It holds no "/".
	Version string
	// SnapshotEvery is how many events a history grows between two snapshots of S,
	// which are JSON in the store's [Checkpoints]: one for each stream, or for each
	// query of [Scope.Within]. A command that appends writes it; one that is refused
	// does not. Zero means no snapshots, which is right until folding a history takes
	// longer than you like.
	SnapshotEvery int
}

// Scope says which history a decision rests on and where its events go. Stream
// or Within is required.
type Scope struct {
	// Stream is where new events go. It is the history too, unless Within is set.
	Stream string
	// Within makes the history whatever matches it: a dynamic consistency
	// boundary, across streams. Stream may then be "".
	Within Query
	// Key makes a repeat harmless: a command with the same Stream and Key gets
	// the outcome of the first. Zero means that each call is a new command.
	Key string
	// Meta goes into every new event.
	Meta map[string]string
	// Conditions hold beside Handle's own one: [Track], a check of another
	// stream, or AtVersion of this one for an If-Match. When one of them fails
	// that is final.
	Conditions []Condition
	// MaxAttempts is how often Handle decides when the history keeps moving.
	// Zero means 10, negative 1.
	MaxAttempts int
}

// Outcome is what [Decider.Handle] did.
type Outcome[E, S any] struct {
	// Result of the append. Without new events First and Last are the position
	// of the history's last event, and Version is its version.
	Result
	// State after the events.
	State S
	// Events are the new ones; those of the first call when Duplicate.
	Events []E
	// Attempts is how often the history was read.
	Attempts int
	// SnapshotErr says why no snapshot was written although one was due. The
	// command succeeded all the same.
	SnapshotErr error
}

func (d *Decider[C, E, S]) initial() (s S) {
	if d.Initial != nil {
		s = d.Initial()
	}
	return s
}

func (d *Decider[C, E, S]) evolve(s S, events []E) S {
	for _, e := range events {
		s = d.Evolve(s, e)
	}
	return s
}
