package hedge_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

func TestQuickPrimaryIsAlone(t *testing.T) {
	budget := &ledger{left: 9}
	p := &hedge.Policy{Budget: budget, OnEvent: func(context.Context, hedge.Event) { t.Error("an event") }}
	r := play(t, p, 0, ok(99*ms))
	assert.Equal(t, 100, r.value)
	assert.NoError(t, r.err)
	assert.Equal(t, []time.Duration{0}, r.started)
	assert.Equal(t, []string{"success 1"}, budget.lines)
	assert.Equal(t, 0, r.alive)
}

func TestSlowPrimaryGetsCompany(t *testing.T) {
	budget := &ledger{left: 9}
	var events []hedge.Event
	p := &hedge.Policy{Budget: budget, OnEvent: func(_ context.Context, e hedge.Event) { events = append(events, e) }}
	r := play(t, p, 0, ok(time.Second), ok(5*ms))
	assert.Equal(t, 101, r.value)
	assert.Equal(t, 105*ms, r.took)
	assert.Equal(t, []time.Duration{0, 100 * ms}, r.started)
	assert.Equal(t, []string{"withdraw 1 <nil>", "success 2"}, budget.lines)
	assert.Equal(t, []hedge.Event{{Attempts: 2, Winner: 1}}, events)
	assert.Equal(t, 0, r.alive)
}

func TestPolicyDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		policy  *hedge.Policy
		started []time.Duration
	}{
		"nil":      {nil, []time.Duration{0, 100 * ms}},
		"zero":     {&hedge.Policy{}, []time.Duration{0, 100 * ms}},
		"max":      {&hedge.Policy{Max: 3, Delay: 10 * ms}, []time.Duration{0, 10 * ms, 20 * ms, 30 * ms}},
		"none":     {&hedge.Policy{Max: -1}, []time.Duration{0}},
		"at once":  {&hedge.Policy{Max: 2, Delay: -1}, []time.Duration{0, 0, 0}},
		"no quota": {&hedge.Policy{Max: 2, Delay: 10 * ms, Budget: &ledger{left: 1}}, []time.Duration{0, 10 * ms}},
	} {
		long := ok(time.Second)
		r := play(t, c.policy, 0, long, long, long, long)
		assert.Equal(t, c.started, r.started, name)
		assert.Equal(t, time.Second, r.took, name)
	}
}

func TestEndedContextMeansNoCall(t *testing.T) {
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	err := hedge.Run(ctx, nil, func(context.Context) error {
		t.Error("called")
		return nil
	})
	e, ok := errors.AsType[*retry.Error](err)
	require.True(t, ok)
	assert.Equal(t, retry.Error{Reason: cause}, *e)
}

func TestDelayThatReachesTheDeadlineArmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		calls := 0
		err := hedge.Run(ctx, nil, func(ctx context.Context) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, calls)
	})

	cost := func(delay time.Duration) float64 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p := &hedge.Policy{Delay: delay}
		return testing.AllocsPerRun(100, func() {
			_, _ = hedge.Do(ctx, p, func(context.Context) (int, error) { return 1, nil }, nil)
		})
	}
	assert.True(t, cost(time.Hour) < cost(time.Second), "not even a timer")
}

// T31: a primary that fails at once is replaced at once, and the delay starts
// afresh.
func TestFailedPrimaryIsReplacedAtOnce(t *testing.T) {
	budget := &ledger{left: 9}
	r := play(t, &hedge.Policy{Max: 2, Budget: budget}, 0, fails(0, errDown), ok(time.Second), ok(ms))
	assert.Equal(t, []time.Duration{0, 0, 100 * ms}, r.started)
	assert.Equal(t, 102, r.value)
	assert.Equal(t, []string{
		"failure 1 connection refused", "withdraw 1 connection refused", "withdraw 2 <nil>", "success 3",
	}, budget.lines)

	r = play(t, &hedge.Policy{Max: 2}, 0, fails(60*ms, errDown), ok(time.Second), ok(time.Second))
	assert.Equal(t, []time.Duration{0, 60 * ms, 160 * ms}, r.started, "the delay starts afresh")
}

func TestAllFailedReturnsThePrimarysOutcome(t *testing.T) {
	other := errors.New("other")
	var events []hedge.Event
	p := &hedge.Policy{OnEvent: func(_ context.Context, e hedge.Event) { events = append(events, e) }}
	r := play(t, p, 0, fails(150*ms, errDown), fails(10*ms, other))
	assert.Equal(t, -1, r.value)
	assert.Same(t, errDown, r.err)
	assert.Equal(t, []hedge.Event{{Attempts: 2, Winner: -1, Err: errDown}}, events)
}

func TestFinalFailureEndsTheCall(t *testing.T) {
	final := retry.Permanent(errDown)
	r := play(t, nil, 0, ok(time.Second), fails(50*ms, final))
	assert.Same(t, final, r.err)
	assert.Equal(t, -2, r.value)
	assert.Equal(t, 150*ms, r.took)

	p := &hedge.Policy{Retryable: func(err error) bool { return err != errDown }}
	assert.Same(t, errDown, play(t, p, 0, fails(10*ms, errDown)).err)
	assert.Equal(t, []time.Duration{0, 10 * ms}, play(t, p, 0, fails(10*ms, final), ok(ms)).started,
		"the predicate alone decides")
}

// T34: what a breaker says about an extra attempt does not end the primary that
// runs, nor does it start another one.
func TestPushbackStartsAndEndsNothing(t *testing.T) {
	for _, err := range []error{pushback{}, retry.After(time.Second, errDown)} {
		r := play(t, &hedge.Policy{Max: 3}, 0, ok(150*ms), fails(10*ms, err))
		assert.Equal(t, 100, r.value)
		assert.Equal(t, 150*ms, r.took)
		assert.Equal(t, []time.Duration{0, 100 * ms}, r.started)

		r = play(t, nil, 0, fails(10*ms, err))
		assert.Equal(t, err, r.err)
		assert.Equal(t, 10*ms, r.took, "nothing runs, nothing is waited for")
	}
}

func TestRefusedMeansNoMoreInThisCall(t *testing.T) {
	budget := &ledger{}
	var events []hedge.Event
	p := &hedge.Policy{Max: 3, Budget: budget, OnEvent: func(_ context.Context, e hedge.Event) { events = append(events, e) }}
	r := play(t, p, 0, fails(250*ms, errDown))
	assert.Same(t, errDown, r.err)
	assert.Equal(t, []string{"withdraw 1 <nil>", "failure 1 connection refused"}, budget.lines)
	assert.Equal(t, []hedge.Event{{Attempts: 1, Winner: -1, Denied: true, Err: errDown}}, events)
}

// slowBudget takes its time to answer, which it must not.
type slowBudget struct{ ledger }

func (b *slowBudget) Withdraw(n int, err error) bool {
	time.Sleep(10 * ms)
	return b.ledger.Withdraw(n, err)
}

// What was granted too late is given back.
func TestGrantThatComesTooLateIsRefunded(t *testing.T) {
	for name, c := range map[string]struct {
		cancelAt time.Duration
		primary  script
	}{
		"primary done": {0, ok(105 * ms)},
		"caller left":  {105 * ms, ok(200 * ms)},
	} {
		budget := &slowBudget{ledger{left: 1}}
		r := play(t, &hedge.Policy{Budget: budget}, c.cancelAt, c.primary, ok(ms))
		assert.Equal(t, []time.Duration{0}, r.started, name)
		assert.Contains(t, budget.lines[len(budget.lines)-1], "refund 1", name)
		assert.Equal(t, 1, budget.left, name)
	}
}

func TestNestedOnlyWithdraws(t *testing.T) {
	budget := &ledger{left: 9}
	p := &hedge.Policy{Budget: budget, Nested: true}
	play(t, p, 0, fails(ms, errDown), ok(ms))
	play(t, p, 0, ok(ms))
	assert.Equal(t, []string{"withdraw 1 connection refused"}, budget.lines)
}

// T33: cancelled before the delay: no extra attempt.
func TestCancelBeforeTheDelay(t *testing.T) {
	for _, stubborn := range []bool{false, true} {
		primary := fails(200*ms, errDown)
		primary.stubborn = stubborn
		budget := &ledger{left: 9}
		r := play(t, &hedge.Policy{Budget: budget}, 50*ms, primary, ok(ms))
		assert.Equal(t, 0, len(budget.lines), "%v", budget.lines)
		e, ok := errors.AsType[*retry.Error](r.err)
		require.True(t, ok)
		assert.ErrorIs(t, r.err, context.Canceled)
		assert.Equal(t, 1, e.Attempts)
		assert.Equal(t, 1, len(r.started))
		if stubborn {
			assert.ErrorIs(t, r.err, errDown)
		}
	}
}

func TestSuccessCountsThoughContextEnded(t *testing.T) {
	primary := ok(200 * ms)
	primary.stubborn = true
	r := play(t, nil, 50*ms, primary)
	assert.NoError(t, r.err)
	assert.Equal(t, 100, r.value)
}

// T30: a success that comes after the race, from an attempt that does not obey
// its context, is discarded before Do returns.
func TestBeatenSuccessIsDiscarded(t *testing.T) {
	late := ok(300 * ms)
	late.stubborn = true
	r := play(t, nil, 0, late, ok(ms))
	assert.Equal(t, 101, r.value)
	assert.Equal(t, []int{100}, r.dropped)
	assert.Equal(t, 300*ms, r.took, "Do waits for it")

	v, err := hedge.Do(t.Context(), &hedge.Policy{Delay: -1}, func(context.Context) (int, error) { return 7, nil }, nil)
	assert.NoError(t, err)
	assert.Equal(t, 7, v)
}

func TestIndex(t *testing.T) {
	assert.Equal(t, 0, hedge.Index(t.Context()))
	type key struct{}
	err := hedge.Run(t.Context(), &hedge.Policy{Max: 2}, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, 1))
		defer cancel()
		if hedge.Index(ctx) < 2 {
			return errDown
		}
		return nil
	})
	assert.NoError(t, err)
}

func TestIndexOfNestedCallsIsTheirOwn(t *testing.T) {
	indices, err := hedge.Do(t.Context(), nil, func(ctx context.Context) ([2]int, error) {
		if hedge.Index(ctx) == 0 {
			return [2]int{}, errDown
		}
		inner, err := hedge.Do(ctx, nil, func(ctx context.Context) (int, error) { return hedge.Index(ctx), nil }, nil)
		return [2]int{hedge.Index(ctx), inner}, err
	}, nil)
	assert.NoError(t, err)
	assert.Equal(t, [2]int{1, 0}, indices)
}

func TestAllocationCeiling(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	p := &hedge.Policy{Delay: time.Second, Budget: retry.NewBudget(retry.BudgetConfig{}), Latency: hedge.NewLatency(.95)}
	allocs := testing.AllocsPerRun(1000, func() {
		_, _ = hedge.Do(ctx, p, func(context.Context) (int, error) { return 1, nil }, nil)
	})
	assert.True(t, allocs <= 6, "%v allocations", allocs)
}
