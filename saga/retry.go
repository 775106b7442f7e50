package saga

import (
	"math"
	"math/rand/v2"
	"time"
)

// Retry says when a failing call is tried again. It is given up when Attempts and
// For are both used up: a burst of failures within a second does not end it where
// For is set, nor does one failure a day where Attempts is. Both are counted in
// the log and survive restarts.
type Retry struct {
	// Attempts in all; 1 means no second one. Zero means 5, negative means never
	// give up.
	Attempts int

	// For is the time since the first failure. Zero means 1 hour for Undo, and for
	// Do from the pivot on, else none; negative means none.
	For time.Duration

	// Base and Cap: wait n is random in [0, min(Cap, Base<<n)), n from 0. Zero
	// means 100 ms and 1 minute.
	Base, Cap time.Duration
}

// resolved fills in the zero values; late is Undo, and Do from the pivot on.
func (r Retry) resolved(late bool) Retry {
	if r.Attempts == 0 {
		r.Attempts = 5
	}
	if r.For == 0 && late {
		r.For = time.Hour
	}
	r.For = max(r.For, 0)
	if r.Base == 0 {
		r.Base = 100 * time.Millisecond
	}
	if r.Cap == 0 {
		r.Cap = time.Minute
	}
	return r
}

// gaveUp tells whether failure number attempts, since after the first, is the last.
func (r Retry) gaveUp(attempts int, since time.Duration) bool {
	return r.Attempts > 0 && attempts >= r.Attempts && since >= r.For
}

// wait is the pause after failure number attempts, which is at least 1.
func (r Retry) wait(attempts int) time.Duration {
	most := r.Cap
	if n := attempts - 1; n < 62 && r.Base <= math.MaxInt64>>n {
		most = min(most, r.Base<<n)
	}
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}
