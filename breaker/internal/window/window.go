// Package window counts the outcomes of calls: over a sliding time, over the
// last so many calls, or since the beginning.
//
// Every window belongs to one period of a breaker and is sealed when that
// period ends. An outcome is either counted, and then part of the totals for
// good, or refused because the window was sealed before: never both, never
// neither. That is what makes a breaker's totals exact without a lock around
// each call.
package window

// Counts is what a window holds at one time.
type Counts struct{ Calls, Failures, Slow uint64 }

// Totals is what a window was told since it was made. It never decreases.
type Totals struct{ Succeeded, Failed uint64 }

// Plus returns the sum of both.
func (t Totals) Plus(u Totals) Totals {
	return Totals{t.Succeeded + u.Succeeded, t.Failed + u.Failed}
}

// Window is what a closed breaker counts with. Safe for concurrent use.
// Times are nanoseconds since some beginning; one that is older than what the
// window has seen counts as the newest that it has seen.
type Window interface {
	// Add counts one call. It reports false, and counts nothing, once the
	// window is sealed.
	Add(now int64, failed, slow bool) bool
	// Read returns what the window holds at now.
	Read(now int64) Counts
	// Totals returns all that was counted.
	Totals() Totals
	// Seal ends the window and returns its last totals.
	Seal() Totals
}
