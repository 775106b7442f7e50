package breaker_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T26: a refusal is not the failure of another call, is not to be retried, and
// stays what it is inside the errors of other packages.
func TestRefusal(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Name: "users"})
		b.Trip(time.Minute, errDown)
		err := error(&url.Error{Op: "Get", URL: "http://users", Err: call(b, nil)})
		assert.ErrorIs(t, err, breaker.ErrRejected)
		assert.NotErrorIs(t, err, errDown)
		r, ok := errors.AsType[*breaker.RejectedError](err)
		require.True(t, ok)
		assert.Same(t, b, r.Gate)
		assert.Same(t, errDown, r.Cause)
		assert.False(t, r.Retryable())
		assert.Equal(t, "breaker: rejected by users (open): down", r.Error())

		assert.Equal(t, time.Minute, r.RetryAfter())
		time.Sleep(20 * time.Second)
		assert.Equal(t, 40*time.Second, r.RetryAfter())
		time.Sleep(time.Hour)
		assert.Equal(t, time.Duration(0), r.RetryAfter())
		assert.Same(t, r, call(never{r}, nil))
	})
}

// never is a gate that cannot say when to come back.
type never struct{ err error }

func (n never) Allow(context.Context) (breaker.Permit, error) { return breaker.Permit{}, n.err }

func TestRefusalOfAGateThatCannotSayWhen(t *testing.T) {
	r := &breaker.RejectedError{Gate: never{}, Reason: "full"}
	assert.Equal(t, time.Duration(0), r.RetryAfter())
	assert.Equal(t, "breaker: rejected (full)", r.Error())
}

func TestZeroPermitDoesNothing(t *testing.T) {
	var p breaker.Permit
	p.Done(errDown)
	p.Done(nil)
	p.Cancel()
	assert.Equal(t, time.Duration(0), p.Timeout())
}

func TestNames(t *testing.T) {
	assert.Equal(t, "closed half-open open State(9)",
		breaker.Closed.String()+" "+breaker.HalfOpen.String()+" "+breaker.Open.String()+" "+breaker.State(9).String())
	assert.Equal(t, "success failure ignored Outcome(0)",
		breaker.Success.String()+" "+breaker.Failure.String()+" "+breaker.Ignored.String()+" "+breaker.Outcome(0).String())
}

// T19: breakers have no goroutine.
func TestManyBreakersAddNoGoroutine(t *testing.T) {
	in(t, func(t *testing.T) {
		// A goroutine of a breaker would outlive the bubble, which would
		// fail the test.
		for range 100_000 {
			breaker.New(breaker.Config{}).Trip(time.Hour, nil)
		}
	})
}
