package saga

import (
	"fmt"
)

// State is how a saga stands. The last three are ends: nothing happens to the
// saga any more, but for Reverse of a Completed one.
type State uint8

const (
	// Running means that a step's Do runs, or is due.
	Running State = iota + 1
	// Waiting means that every step that could run waits for a time or a signal.
	Waiting
	// Compensating means that what was done is being undone.
	Compensating
	// Stuck means that a call failed for good where neither going on nor going
	// back is possible. Nothing runs until [Coordinator.Resolve].
	Stuck
	// Completed means that every step is done.
	Completed
	// Compensated means that every effect is undone.
	Compensated
	// Abandoned means that a human ended it with effects left in place; Error.Left
	// names them.
	Abandoned
)

var stateNames = [...]string{
	Running: "running", Waiting: "waiting", Compensating: "compensating", Stuck: "stuck",
	Completed: "completed", Compensated: "compensated", Abandoned: "abandoned",
}

// Ended reports whether s is Completed, Compensated or Abandoned.
func (s State) Ended() bool { return s >= Completed && s <= Abandoned }

// String returns the state's name in lower case.
func (s State) String() string {
	if s < Running || s > Abandoned {
		return fmt.Sprintf("state(%d)", uint8(s))
	}
	return stateNames[s]
}

// MarshalText writes the name. A State that is none is an error.
func (s State) MarshalText() ([]byte, error) {
	if s < Running || s > Abandoned {
		return nil, fmt.Errorf("saga: State is %d: want 1 to %d", uint8(s), uint8(Abandoned))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText reads a name.
func (s *State) UnmarshalText(text []byte) error {
	for state := Running; state <= Abandoned; state++ {
		if string(text) == stateNames[state] {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("saga: State is %.40q: want one of %q", text, stateNames[Running:])
}
