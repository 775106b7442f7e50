package scatter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/sharding"
)

// The errors of this package, for errors.Is.
var (
	// ErrSkipped: a call cut short, or not begun, because Need was met.
	ErrSkipped = errors.New("scatter: skipped: enough shards have answered")
	// ErrRetired: the shard is not among those that the pool retains.
	ErrRetired = errors.New("scatter: shard is retired")
	// ErrClosed: the pool is closed.
	ErrClosed = errors.New("scatter: pool is closed")
)

// errHopeless ends the calls under FailFast. It names no shard: it becomes the
// error of those that had no part in the failure.
var errHopeless = fmt.Errorf("scatter: canceled, too many shards have failed: %w", context.Canceled)

// PartialError says which shards did not answer, and why. Failed is never
// empty.
type PartialError struct {
	Failed map[sharding.ID]error
	OK     []sharding.ID // those that did answer
	Keys   []int         // of Get: the indexes of the keys without a value, ascending
}

// Error names the failed shards in order.
func (e *PartialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scatter: %d of %d shards failed", len(e.Failed), len(e.Failed)+len(e.OK))
	for _, id := range slices.Sorted(maps.Keys(e.Failed)) {
		fmt.Fprintf(&b, "; %s: %v", id, e.Failed[id])
	}
	return b.String()
}

// Unwrap returns the failures in the order of their shards.
func (e *PartialError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, id := range slices.Sorted(maps.Keys(e.Failed)) {
		errs = append(errs, e.Failed[id])
	}
	return errs
}

// Retryable reports whether every failure says that it is: otherwise another
// call cannot become complete.
func (e *PartialError) Retryable() bool {
	for _, err := range e.Failed {
		if r, ok := errors.AsType[retryable](err); !ok || !r.Retryable() {
			return false
		}
	}
	return true
}

type retryable interface {
	error
	Retryable() bool
}

// partial is the error of results of which need should have succeeded.
func partial[T any](results []Result[T], need int) error {
	for i := range results {
		if results[i].Err == nil {
			need--
		}
	}
	if need <= 0 {
		return nil
	}
	e := &PartialError{Failed: make(map[sharding.ID]error)}
	for _, r := range results {
		if r.Err != nil {
			e.Failed[r.Shard] = r.Err
		} else {
			e.OK = append(e.OK, r.Shard)
		}
	}
	return e
}
