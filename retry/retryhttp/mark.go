package retryhttp

import (
	"errors"

	"github.com/keelson-go/keelson/retry"
)

// marked is a failure that must not be repeated because of the request, not of
// the failure itself. The mark is for the loops; callers get what is under it.
type marked struct{ error }

func (m *marked) Unwrap() error { return m.error }

func mark(err error) error { return retry.Permanent(&marked{err}) }

func unmarked(err error) error {
	if m, ok := errors.AsType[*marked](err); ok {
		return m.error
	}
	return err
}
