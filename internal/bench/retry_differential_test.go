package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cenkalti/backoff/v7"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/retry"
)

// cenkalti/backoff has the best error contract of the peers, so it serves as a
// second opinion: on random scripts without waits both make as many calls and
// stop for the same reason. Left out is where they differ on purpose: backoff
// makes a call even if ctx has ended before, and when ctx ends in the last
// attempt it reports the attempts and not the cause.
func TestSameReasonsAsBackoff(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	left := errors.New("the caller left")
	for range 20_000 {
		tries := 1 + random.IntN(5)
		steps := make([]int, 8)
		for i := range steps {
			steps[i] = random.IntN(8) // 0: success, 1: permanent, 2: cancels and fails, else: fails
		}
		script := func(cancel func(error), permanent func(error) error, n *int) func() (int, error) {
			return func() (int, error) {
				*n++
				switch steps[*n-1] {
				case 0:
					return *n, nil
				case 1:
					return 0, permanent(errDown)
				case 2:
					cancel(left)
				}
				return 0, errDown
			}
		}
		var ours, theirs int
		ctx, cancel := context.WithCancelCause(t.Context())
		fn := script(cancel, retry.Permanent, &ours)
		_, err := retry.Do(ctx, &retry.Policy{MaxAttempts: tries, Backoff: retry.Constant(0)},
			func(context.Context) (int, error) { return fn() })

		ctx, cancel = context.WithCancelCause(t.Context())
		_, want := backoff.Retry(ctx, script(cancel, backoff.Permanent, &theirs),
			backoff.WithMaxTries(uint(tries)), backoff.WithBackOff(&backoff.ZeroBackOff{}))

		require.Equal(t, theirs, ours, "%v, %d tries", steps, tries)
		require.Equal(t, want == nil, err == nil)
		if ours == tries && steps[tries-1] == 2 {
			require.ErrorIs(t, err, left)
			require.ErrorIs(t, want, backoff.ErrExhausted)
			continue
		}
		require.Equal(t, errors.Is(want, backoff.ErrExhausted), errors.Is(err, retry.ErrExhausted), "%v, %d tries: %v, %v", steps, tries, err, want)
		require.Equal(t, errors.Is(want, left), errors.Is(err, left), "%v, %d tries: %v, %v", steps, tries, err, want)
		require.Equal(t, errors.Is(want, errDown), errors.Is(err, errDown))
	}
}
