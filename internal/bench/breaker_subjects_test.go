package main

import (
	"context"
	"reflect"
	"runtime"
	"sync/atomic"
	"time"

	resiliency "github.com/eapache/go-resiliency/breaker"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/adaptivethrottler"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
)

// single returns a breaker of the named library as its users run calls with
// it.
func single(name string) subject {
	switch name {
	case "keelson":
		return keelsonSubject(nil)
	case "gobreaker v2.4.0":
		return goBreakerSubject(nil)
	case "failsafe-go v0.9.8":
		return failsafeSubject(nil)
	default:
		return resiliencySubject()
	}
}

// twoStep returns one for users who ask first and report later, which is
// another type in gobreaker, and not to be had from go-resiliency.
func twoStep(name string) subject {
	if name == "gobreaker v2.4.0" {
		return goBreakerTwoStep()
	}
	return single(name)
}

func keelsonSubject(callback func(breaker.Event)) subject {
	b := breaker.New(breaker.Config{Consecutive: 3, OpenFor: time.Second, MaxOpenFor: time.Second, OnEvent: callback})
	return subject{
		run: func(ctx context.Context, fn func() error) error {
			return breaker.Run(ctx, b, func(context.Context) error { return fn() })
		},
		allow: func() (func(error), bool) {
			p, err := b.Allow(context.Background())
			return p.Done, err == nil
		},
		state: func() string { return b.State().String() },
	}
}

func goBreakerSettings(callback func(string, gobreaker.State, gobreaker.State)) gobreaker.Settings {
	return gobreaker.Settings{
		Timeout:       time.Second,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 3 },
		OnStateChange: callback,
	}
}

func goBreakerSubject(callback func(string, gobreaker.State, gobreaker.State)) subject {
	b := gobreaker.NewCircuitBreaker[any](goBreakerSettings(callback))
	return subject{
		run: func(_ context.Context, fn func() error) error {
			_, err := b.Execute(func() (any, error) { return nil, fn() })
			return err
		},
		state: func() string { return b.State().String() },
	}
}

func goBreakerTwoStep() subject {
	b := gobreaker.NewTwoStepCircuitBreaker[any](goBreakerSettings(nil))
	return subject{
		run: func(_ context.Context, fn func() error) error {
			done, err := b.Allow()
			if err == nil {
				err = fn()
				done(err)
			}
			return err
		},
		allow: func() (func(error), bool) {
			done, err := b.Allow()
			return done, err == nil
		},
		state: func() string { return b.State().String() },
	}
}

func failsafeSubject(callback func(circuitbreaker.StateChangedEvent)) subject {
	c := circuitbreaker.NewBuilder[any]().WithFailureThreshold(3).WithDelay(time.Second).WithSuccessThreshold(1)
	if callback != nil {
		c = c.OnStateChanged(callback)
	}
	b := c.Build()
	return subject{
		run: func(ctx context.Context, fn func() error) error {
			return failsafe.With(b).WithContext(ctx).Run(fn)
		},
		allow: func() (func(error), bool) {
			return func(err error) {
				if err != nil {
					b.RecordError(err)
				} else {
					b.RecordSuccess()
				}
			}, b.TryAcquirePermit()
		},
		state: func() string { return b.State().String() },
	}
}

func resiliencySubject() subject {
	b := resiliency.New(3, 1, time.Second)
	return subject{
		run: func(_ context.Context, fn func() error) error { return b.Run(fn) },
		state: func() string {
			return map[resiliency.State]string{
				resiliency.Closed: "closed", resiliency.Open: "open", resiliency.HalfOpen: "half-open",
			}[b.GetState()]
		},
	}
}

// ownTraps are the cases that each library must be set up for by itself.
func ownTraps() []trap {
	return []trap{
		{"49.6 % is not 50 % (T10)", isNotRounded},
		{"old counts are not read after an idle window (T11)", readsAfterIdle},
		{"counts do not wrap at 2^32 (T15)", countsAreWide},
		{"a thousand of them add no goroutine (T19)", addsNoGoroutine},
		{"a callback may look at its breaker (T20)", callbackMayLook},
		{"a late success keeps its place until it returns (T22)", placeIsHeld},
		{"a throttle that refused all sees a recovery (T33)", throttleRecovers},
	}
}

func isNotRounded(name string) (holds, na bool) {
	switch name {
	case "keelson":
		b := breaker.New(breaker.Config{FailureRate: 0.5, MinCalls: 250})
		s := subject{run: func(ctx context.Context, fn func() error) error {
			return breaker.Run(ctx, b, func(context.Context) error { return fn() })
		}}
		halfFails(s)
		return b.State() == breaker.Closed, false
	case "failsafe-go v0.9.8":
		b := circuitbreaker.NewBuilder[any]().WithFailureRateThreshold(0.5, 250, time.Minute).Build()
		s := subject{run: func(_ context.Context, fn func() error) error { return failsafe.With(b).Run(fn) }}
		halfFails(s)
		return b.IsClosed(), false
	default:
		return false, true // gobreaker's users divide for themselves
	}
}

// halfFails runs 250 calls of which 124 fail.
func halfFails(s subject) {
	for i := range 250 {
		if i < 126 {
			s.succeed()
		} else {
			s.fail()
		}
	}
}

func readsAfterIdle(name string) (holds, na bool) {
	var counts func() uint64
	var s subject
	switch name {
	case "keelson":
		b := breaker.New(breaker.Config{Window: 10 * time.Second})
		s.run = func(ctx context.Context, fn func() error) error {
			return breaker.Run(ctx, b, func(context.Context) error { return fn() })
		}
		counts = func() uint64 { return b.Stats().Calls }
	case "gobreaker v2.4.0":
		b := gobreaker.NewCircuitBreaker[any](gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second})
		s.run = func(_ context.Context, fn func() error) error {
			_, err := b.Execute(func() (any, error) { return nil, fn() })
			return err
		}
		counts = func() uint64 { return uint64(b.Counts().Requests) }
	case "failsafe-go v0.9.8":
		b := circuitbreaker.NewBuilder[any]().WithFailureRateThreshold(0.5, 100, 10*time.Second).Build()
		s.run = func(_ context.Context, fn func() error) error { return failsafe.With(b).Run(fn) }
		counts = func() uint64 { return uint64(b.Metrics().Executions()) }
	default:
		return false, true // has no counts to read
	}
	for range 5 {
		s.succeed()
	}
	if counts() != 5 {
		panic("the calls were not counted")
	}
	time.Sleep(time.Minute)
	return counts() == 0, false
}

// countsAreWide looks at the type of the counts, since 2^32 calls take minutes.
func countsAreWide(name string) (holds, na bool) {
	var count any
	switch name {
	case "keelson":
		count = breaker.Stats{}.Calls
	case "gobreaker v2.4.0":
		count = gobreaker.Counts{}.Requests
	case "failsafe-go v0.9.8":
		count = circuitbreaker.NewWithDefaults[any]().Metrics().Executions()
	default:
		return false, true
	}
	return reflect.TypeOf(count).Size() >= 8, false
}

func addsNoGoroutine(name string) (holds, na bool) {
	before := runtime.NumGoroutine()
	for range 1000 {
		s := single(name)
		for range 3 {
			s.fail()
		}
	}
	// Half of them would do: what others have left behind may end meanwhile.
	return runtime.NumGoroutine()-before < 500, false
}

// callbackMayLook waits in real time: a goroutine that waits for a lock which
// it holds itself never ends, and a bubble would wait for it.
func callbackMayLook(name string) (holds, na bool) {
	var s subject
	switch name {
	case "keelson":
		s = keelsonSubject(func(breaker.Event) { s.state() })
	case "gobreaker v2.4.0":
		s = goBreakerSubject(func(string, gobreaker.State, gobreaker.State) { s.state() })
	case "failsafe-go v0.9.8":
		s = failsafeSubject(func(circuitbreaker.StateChangedEvent) { s.state() })
	default:
		return false, true
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			s.fail()
		}
	}()
	select {
	case <-done:
		return true, false
	case <-time.After(5 * time.Second):
		return false, false
	}
}

// placeIsHeld looks whether a probe that outlives its time limit still keeps
// others out. Only keelson's breakers have a time limit; failsafe-go composes
// one with its breaker.
func placeIsHeld(name string) (holds, na bool) {
	var run func(fn func() error) error
	var open func()
	switch name {
	case "keelson":
		b := breaker.New(breaker.Config{Timeout: time.Second, OpenFor: time.Second, MaxOpenFor: time.Second})
		run = func(fn func() error) error {
			return breaker.Run(context.Background(), b, func(context.Context) error { return fn() })
		}
		open = func() { b.Trip(time.Second, nil) }
	case "failsafe-go v0.9.8":
		b := circuitbreaker.NewBuilder[any]().WithDelay(time.Second).Build()
		run = failsafe.With[any](b, timeout.New[any](time.Second)).Run
		open = b.Open
	default:
		return false, true
	}
	open()
	time.Sleep(time.Second)
	release := make(chan struct{})
	var running atomic.Int64
	for range 2 {
		go func() {
			_ = run(func() error {
				running.Add(1)
				<-release
				return nil
			})
		}()
		time.Sleep(1500 * time.Millisecond) // beyond the time limit
	}
	alone := running.Load() == 1
	close(release)
	return alone, false
}

// throttleRecovers refuses everything for a minute, and then lets the backend
// be well for ten.
func throttleRecovers(name string) (holds, na bool) {
	var call func(err error) (admitted bool)
	switch name {
	case "keelson":
		g := limit.NewThrottle(limit.ThrottleConfig{Window: 10 * time.Second})
		call = func(err error) bool {
			p, refused := g.Allow(context.Background())
			p.Done(err)
			return refused == nil
		}
	case "failsafe-go v0.9.8":
		g := adaptivethrottler.NewBuilder[any]().WithFailureRateThreshold(0.1, 10, 10*time.Second).WithMaxRejectionRate(1).Build()
		call = func(err error) bool {
			if !g.TryAcquirePermit() {
				return false
			}
			if err != nil {
				g.RecordError(err)
			} else {
				g.RecordSuccess()
			}
			return true
		}
	default:
		return false, true
	}
	for range 6000 {
		call(errDown)
		time.Sleep(10 * time.Millisecond)
	}
	admitted := 0
	for range 60_000 {
		if call(nil) {
			admitted++
		}
		time.Sleep(10 * time.Millisecond)
	}
	return admitted > 30_000, false
}
