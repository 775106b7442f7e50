package sharding

import "fmt"

// The errors of this package, for errors.Is. Each also has a method
// Retryable() bool, which package retry and others understand: true for
// ErrStale and ErrBlocked, false for the rest.
var (
	// ErrNoOwner: the key is outside the map, or has fewer owners than asked.
	ErrNoOwner error = &sentinel{text: "sharding: no owner"}
	// ErrGap: nobody owns some keys between two ranges. The text names both
	// neighbours and the keys between.
	ErrGap error = &sentinel{text: "sharding: gap"}
	// ErrOverlap: two ranges own the same keys. The text names both and the keys.
	ErrOverlap error = &sentinel{text: "sharding: overlap"}
	// ErrStale: a topology or a route is older than what is known.
	ErrStale error = &sentinel{text: "sharding: stale", retryable: true}
	// ErrConflict: the epoch has other content already.
	ErrConflict error = &sentinel{text: "sharding: conflict"}
	// ErrBlocked: a cutover is under way, moving keys take no writes.
	ErrBlocked error = &sentinel{text: "sharding: blocked", retryable: true}
)

type sentinel struct {
	text      string
	retryable bool
}

func (e *sentinel) Error() string   { return e.text }
func (e *sentinel) Retryable() bool { return e.retryable }

// MovedError says that a route is outdated: the key belongs elsewhere, or did
// for a while. It matches [ErrStale].
type MovedError struct {
	To    ID     `json:"to,omitempty"` // the owner; "" is unknown
	Epoch uint64 `json:"epoch"`        // the topology that says so
}

// Error gives "sharding: moved to shard-2 at epoch 7".
func (e *MovedError) Error() string {
	to := e.To
	if to == "" {
		to = "an unknown shard"
	}
	return fmt.Sprintf("sharding: moved to %s at epoch %d", to, e.Epoch)
}

// Is reports whether target is ErrStale.
func (e *MovedError) Is(target error) bool { return target == ErrStale } //nolint:errorlint // this is Is

// Retryable reports true: with a route of Epoch or later the call may succeed.
func (e *MovedError) Retryable() bool { return true }
