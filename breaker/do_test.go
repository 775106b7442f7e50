package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestDoReturnsWhatFnReturns(t *testing.T) {
	b := breaker.New(breaker.Config{})
	v, err := breaker.Do(t.Context(), b, func(context.Context) (int, error) { return 7, nil })
	assert.NoError(t, err)
	assert.Equal(t, 7, v)
	v, err = breaker.Do(t.Context(), b, func(context.Context) (int, error) { return 8, errDown })
	assert.Same(t, errDown, err)
	assert.Equal(t, 8, v)
}

func TestRefusedCallDoesNotRun(t *testing.T) {
	b := breaker.New(breaker.Config{})
	b.Trip(time.Hour, nil)
	v, err := breaker.Do(t.Context(), b, func(context.Context) (int, error) {
		t.Error("ran")
		return 1, nil
	})
	assert.ErrorIs(t, err, breaker.ErrRejected)
	assert.Equal(t, 0, v)
}

// T1: Goexit in a probe frees its place, counts as a failure, and probes go on
// later.
func TestGoexitInProbeIsFailure(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		half(t, b)
		inGoroutine(func() { _ = breaker.Run(t.Context(), b, exit) })
		assert.Equal(t, breaker.Open, b.State())
		assert.Equal(t, uint64(1), b.Stats().Failed)
		assert.Equal(t, uint64(0), b.Stats().LostProbes)
		time.Sleep(b.RetryAfter())
		assert.NoError(t, call(b, nil))
		assert.Equal(t, breaker.Closed, b.State())
	})
}

// T2: a panic in a probe does the same, and goes on with its value and stack.
func TestPanicInProbeIsFailureAndGoesOn(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		half(t, b)
		var stack string
		func() {
			defer func() {
				assert.Same(t, errDown, recover())
				stack = string(debug.Stack())
			}()
			_ = breaker.Run(t.Context(), b, panicWithErrDown)
		}()
		assert.Contains(t, stack, "panicWithErrDown", "the stack still shows where it came from")
		assert.Equal(t, breaker.Open, b.State())
		assert.Equal(t, uint64(1), b.Stats().Failed)
		time.Sleep(b.RetryAfter())
		assert.NoError(t, call(b, nil))
	})
}

func panicWithErrDown(context.Context) error { panic(errDown) }

// T22: a success after Timeout reaches the caller and is slow, and the place
// is held until fn returns.
func TestSuccessAfterTimeoutIsReturnedAndSlow(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Timeout: time.Second})
		v, err := breaker.Do(t.Context(), b, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			assert.Same(t, breaker.ErrTimeout, context.Cause(ctx))
			time.Sleep(time.Second)
			return 7, nil
		})
		assert.NoError(t, err)
		assert.Equal(t, 7, v)
		assert.Equal(t, uint64(1), b.Stats().Slow)
		assert.Equal(t, uint64(1), b.Stats().Succeeded)

		half(t, b)
		go func() {
			_ = breaker.Run(t.Context(), b, func(context.Context) error {
				time.Sleep(3 * time.Second) // does not look at its context
				return nil
			})
		}()
		time.Sleep(2 * time.Second)
		refused(t, b, "half-open")
		time.Sleep(time.Second)
	})
}

func TestTimeoutErrorMatchesBothErrorAndCause(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Timeout: time.Second})
		err := breaker.Run(t.Context(), b, func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
		})
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.ErrorIs(t, err, breaker.ErrTimeout)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		timeout, ok := errors.AsType[interface {
			error
			Timeout() bool
		}](err)
		require.True(t, ok)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, uint64(1), b.Stats().Failed)
	})
}

func TestErrorThatMatchesTheCauseStaysAsItIs(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	errLeft := errors.New("client left")
	own := fmt.Errorf("query: %w", errLeft)
	b := breaker.New(breaker.Config{})
	err := breaker.Run(ctx, b, func(context.Context) error {
		cancel(errLeft)
		return own
	})
	assert.Same(t, own, err)
	assert.Equal(t, uint64(1), b.Stats().Ignored)
}

// canceled ends the context that Allow saw while the call runs.
type canceled struct{ error }

// T21: the outcome of each kind of error, wrapped and joined ones as well.
func TestOutcomesByDefault(t *testing.T) {
	rejected := &breaker.RejectedError{Reason: "open"}
	cases := map[string]struct {
		err  error
		want breaker.Outcome
	}{
		"nil":                   {nil, breaker.Success},
		"any error":             {errDown, breaker.Failure},
		"caller's deadline":     {context.DeadlineExceeded, breaker.Failure},
		"own timeout":           {breaker.ErrTimeout, breaker.Failure},
		"canceled by fn itself": {context.Canceled, breaker.Failure},
		"refusal":               {rejected, breaker.Ignored},
		"wrapped refusal":       {fmt.Errorf("users: %w", rejected), breaker.Ignored},
		"joined refusal":        {errors.Join(errDown, rejected), breaker.Ignored},
		"caller left":           {canceled{errDown}, breaker.Ignored},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var asked []breaker.Outcome
			b := breaker.New(breaker.Config{Classify: func(_ error, o breaker.Outcome) breaker.Outcome {
				asked = append(asked, o)
				return o
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := b.Allow(ctx)
			require.NoError(t, err)
			if _, left := errors.AsType[canceled](c.err); left {
				cancel()
			}
			p.Done(c.err)
			if c.err == nil {
				assert.Equal(t, 0, len(asked), "Classify is not asked about successes")
			} else {
				assert.Equal(t, []breaker.Outcome{c.want}, asked)
			}
			s := b.Stats()
			got := map[breaker.Outcome]uint64{breaker.Success: s.Succeeded, breaker.Failure: s.Failed, breaker.Ignored: s.Ignored}
			assert.Equal(t, uint64(1), got[c.want])
			assert.Equal(t, uint64(1), s.Succeeded+s.Failed+s.Ignored)
		})
	}
}

// T21: the time limit of one try reaches a breaker below retryhttp as a
// cancellation. A dependency that hangs must not look like a caller who left.
func TestCancellationByADeadlineIsAFailure(t *testing.T) {
	for _, c := range []struct {
		cause error
		want  breaker.Stats
	}{
		{context.DeadlineExceeded, breaker.Stats{Failed: 1}},
		{fmt.Errorf("try 1: %w", breaker.ErrTimeout), breaker.Stats{Failed: 1}},
		{errors.New("client left"), breaker.Stats{Ignored: 1}},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		b := breaker.New(breaker.Config{})
		assert.Error(t, breaker.Run(ctx, b, func(ctx context.Context) error {
			cancel(c.cause)
			return ctx.Err()
		}))
		s := b.Stats()
		assert.Equal(t, c.want, breaker.Stats{Failed: s.Failed, Ignored: s.Ignored}, "%v", c.cause)
	}
}

func TestClassifyHasTheLastWord(t *testing.T) {
	want := breaker.Success
	b := breaker.New(breaker.Config{
		Consecutive: 1,
		Classify:    func(error, breaker.Outcome) breaker.Outcome { return want },
	})
	assert.Same(t, errDown, call(b, errDown))
	assert.Equal(t, uint64(1), b.Stats().Succeeded)
	want = breaker.Ignored
	assert.Same(t, errDown, call(b, errDown))
	assert.Equal(t, uint64(1), b.Stats().Ignored)
	assert.Equal(t, breaker.Closed, b.State())
	want = 9 // invalid
	assert.Same(t, errDown, call(b, errDown))
	assert.Equal(t, breaker.Open, b.State())
}

func TestPanicInClassifyIsFailureAndGoesOn(t *testing.T) {
	b := breaker.New(breaker.Config{
		Consecutive: 1,
		Classify:    func(error, breaker.Outcome) breaker.Outcome { panic("classify") },
	})
	assert.Equal(t, "classify", assert.Panics(t, func() { _ = call(b, errDown) }))
	assert.Equal(t, breaker.Open, b.State())
	assert.Equal(t, uint64(1), b.Stats().Failed)
}

func TestCallsDoNotAllocate(t *testing.T) {
	configs := map[string]breaker.Config{
		"time": {}, "count": {LastCalls: 100}, "consecutive": {FailureRate: -1}, "slow": {SlowAfter: time.Hour},
		"no trip": {MinCalls: 1 << 40},
	}
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			b := breaker.New(c)
			good := func(context.Context) (int, error) { return 1, nil }
			bad := func(context.Context) (int, error) { return 0, errDown }
			ctx := t.Context()
			assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = breaker.Do(ctx, b, good) }), "success")
			run := func(context.Context) error { return nil }
			assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _ = breaker.Run(ctx, b, run) }), "Run")
			assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() {
				p, _ := b.Allow(ctx)
				p.Done(nil)
			}), "two steps")
			if c.MinCalls > 0 {
				assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = breaker.Do(ctx, b, bad) }), "failure")
			}
			b.Trip(time.Hour, nil)
			assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = breaker.Do(ctx, b, good) }), "refusal")
		})
	}
}

func TestTimeLimitAllocatesAContextAlone(t *testing.T) {
	b := breaker.New(breaker.Config{Timeout: time.Hour})
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		_, _ = breaker.Do(ctx, b, func(context.Context) (int, error) { return 1, nil })
	})
	assert.True(t, n <= 5, "%v allocations", n)
}

// T2: an error whose own methods panic, such as a nil pointer with methods,
// keeps no place. The panic goes on, and the call is a failure.
func TestErrorThatPanicsIsFailure(t *testing.T) {
	in(t, func(t *testing.T) {
		for name, err := range map[string]error{"Is": panicsIs{errDown}, "RetryAfter": panicsRetryAfter{errDown}} {
			var j journal
			b := breaker.New(breaker.Config{OnEvent: j.add})
			half(t, b)
			assert.Equal(t, name, assert.Panics(t, func() { _ = call(b, err) }))
			assert.Equal(t, breaker.Open, b.State(), name)
			assert.Equal(t, uint64(1), b.Stats().Failed, name)
			assert.Equal(t, []string{"trip", "timer", "probe-failed"}, j.reasons())
			time.Sleep(b.RetryAfter())
			assert.NoError(t, call(b, nil))
			assert.Equal(t, breaker.Closed, b.State())
		}
	})
}

type panicsIs struct{ error }

func (panicsIs) Is(error) bool { panic("Is") }

type panicsRetryAfter struct{ error }

func (panicsRetryAfter) RetryAfter() time.Duration { panic("RetryAfter") }
