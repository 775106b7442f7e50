package breaker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T18: bad settings are refused with the field, the value and what is allowed.
func TestBadSettingsAreNamed(t *testing.T) {
	cases := []struct {
		config breaker.Config
		field  string
		value  string
	}{
		{breaker.Config{FailureRate: math.NaN()}, "FailureRate", "NaN"},
		{breaker.Config{FailureRate: math.Inf(1)}, "FailureRate", "+Inf"},
		{breaker.Config{FailureRate: 1.01}, "FailureRate", "1.01"},
		{breaker.Config{FailureRate: 1e-9}, "FailureRate", "1e-09"},
		{breaker.Config{SlowRate: math.NaN()}, "SlowRate", "NaN"},
		{breaker.Config{SlowRate: -1}, "SlowRate", "-1"},
		{breaker.Config{SlowRate: 50}, "SlowRate", "50"},
		{breaker.Config{Consecutive: -1}, "Consecutive", "-1"},
		{breaker.Config{MinCalls: -1}, "MinCalls", "-1"},
		{breaker.Config{MinCalls: 11, LastCalls: 10}, "MinCalls", "11"},
		{breaker.Config{Window: -1}, "Window", "-1ns"},
		{breaker.Config{Window: time.Microsecond}, "Window", "1µs"},
		{breaker.Config{Window: time.Second, LastCalls: 10}, "Window", "1s"},
		{breaker.Config{LastCalls: -1}, "LastCalls", "-1"},
		{breaker.Config{LastCalls: 65537}, "LastCalls", "65537"},
		{breaker.Config{OpenFor: -1}, "OpenFor", "-1ns"},
		{breaker.Config{MaxOpenFor: -1}, "MaxOpenFor", "-1ns"},
		{breaker.Config{MaxOpenFor: time.Second}, "MaxOpenFor", "1s"},
		{breaker.Config{Probes: -1}, "Probes", "-1"},
		{breaker.Config{Probes: 1001}, "Probes", "1001"},
		{breaker.Config{ProbeTimeout: -1}, "ProbeTimeout", "-1ns"},
		{breaker.Config{Ramp: -1}, "Ramp", "-1ns"},
		{breaker.Config{Timeout: -1}, "Timeout", "-1ns"},
		{breaker.Config{SlowAfter: 2 * time.Second, Timeout: time.Second}, "SlowAfter", "2s"},
		{breaker.Config{Timeout: 2 * time.Second, ProbeTimeout: time.Second}, "ProbeTimeout", "1s"},
		{breaker.Config{SlowAfter: 2 * time.Second, ProbeTimeout: time.Second}, "ProbeTimeout", "1s"},
	}
	for _, c := range cases {
		err := c.config.Validate()
		require.Error(t, err, "%+v", c.config)
		assert.True(t, strings.HasPrefix(err.Error(), "breaker: Config."+c.field+" is "+c.value+"; allowed: "), "%v", err)
		panicked := assert.Panics(t, func() { breaker.New(c.config) })
		assert.Equal(t, err, panicked)
	}
}

func TestGoodSettingsAreAccepted(t *testing.T) {
	for _, c := range []breaker.Config{
		{},
		{FailureRate: -1, SlowAfter: -1},
		{FailureRate: 1e-6, SlowRate: 1e-6, LastCalls: 65536, MinCalls: 65536},
		{OpenFor: time.Hour},
		{OpenFor: time.Minute, MaxOpenFor: time.Minute},
		{Timeout: time.Hour},
		{Timeout: time.Second, SlowAfter: -1, ProbeTimeout: time.Second},
		{SlowAfter: time.Hour},
	} {
		assert.NoError(t, c.Validate())
		breaker.New(c)
	}
}

// T18: the largest durations neither overflow nor wrap.
func TestLargestDurationsDoNotOverflow(t *testing.T) {
	in(t, func(t *testing.T) {
		const long = time.Duration(math.MaxInt64)
		b := breaker.New(breaker.Config{
			Window: long, OpenFor: long, MaxOpenFor: long, ProbeTimeout: long,
			Timeout: long, SlowAfter: long, Ramp: long, Consecutive: 3,
		})
		calls(t, b, 3, errDown)
		time.Sleep(time.Hour)
		assert.Equal(t, breaker.Open, b.State())
		assert.True(t, b.RetryAfter() > 24*time.Hour)
		assert.False(t, b.Idle())
		b.Reset()
		b.Trip(long, nil)
		assert.Equal(t, breaker.Open, b.State())
		b.Reset()
		b.Trip(1, nil)
		time.Sleep(time.Nanosecond)
		allow(t, b)
		refused(t, b, "half-open")
		assert.False(t, b.Idle())
	})
}

func TestLevelsDoNotOverflow(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1, OpenFor: 1, MaxOpenFor: math.MaxInt64})
		b.SetRandom(func() float64 { return 0.999 })
		calls(t, b, 1, errDown)
		before := time.Duration(0)
		for range 55 { // about a year
			require.True(t, b.RetryAfter() > before)
			before = b.RetryAfter()
			time.Sleep(before)
			calls(t, b, 1, errDown)
		}
	})
}
