package assert

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// recorder is a testing.TB that only counts failures.
type recorder struct {
	testing.TB
	failures int
}

func (r *recorder) Helper()      {}
func (r *recorder) Error(...any) { r.failures++ }

// A check that cannot fail is worse than none: each one must pass on the good
// value and fail on the bad one.
func TestEachCheckPassesAndFails(t *testing.T) {
	wrapped := fmt.Errorf("read: %w", io.EOF)
	var none *int
	checks := map[string]struct{ good, bad func(testing.TB) }{
		"Equal":      {func(t testing.TB) { Equal(t, []int{1}, []int{1}) }, func(t testing.TB) { Equal(t, 1, int64(1)) }},
		"NotEqual":   {func(t testing.TB) { NotEqual(t, 1, 2) }, func(t testing.TB) { NotEqual(t, 1, 1) }},
		"Same":       {func(t testing.TB) { Same(t, t, t) }, func(t testing.TB) { Same(t, new(int), new(int)) }},
		"True":       {func(t testing.TB) { True(t, true) }, func(t testing.TB) { True(t, false, "x is %d", 1) }},
		"False":      {func(t testing.TB) { False(t, false) }, func(t testing.TB) { False(t, true) }},
		"Nil":        {func(t testing.TB) { Nil(t, none) }, func(t testing.TB) { Nil(t, new(int)) }},
		"NotNil":     {func(t testing.TB) { NotNil(t, 0) }, func(t testing.TB) { NotNil(t, none) }},
		"NoError":    {func(t testing.TB) { NoError(t, nil) }, func(t testing.TB) { NoError(t, io.EOF) }},
		"Error":      {func(t testing.TB) { Error(t, io.EOF) }, func(t testing.TB) { Error(t, nil) }},
		"ErrorIs":    {func(t testing.TB) { ErrorIs(t, wrapped, io.EOF) }, func(t testing.TB) { ErrorIs(t, io.EOF, wrapped) }},
		"NotErrorIs": {func(t testing.TB) { NotErrorIs(t, io.EOF, wrapped) }, func(t testing.TB) { NotErrorIs(t, wrapped, io.EOF) }},
		"Contains":   {func(t testing.TB) { Contains(t, "keel", "ee") }, func(t testing.TB) { Contains(t, "keel", "x") }},
		"InDelta":    {func(t testing.TB) { InDelta(t, 1, 1.1, .2) }, func(t testing.TB) { InDelta(t, 1, 2, .2) }},
		"Panics": {
			func(t testing.TB) { Equal(t, io.EOF, Panics(t, func() { panic(io.EOF) })) },
			func(t testing.TB) { Panics(t, func() {}) },
		},
	}
	for name, check := range checks {
		r := &recorder{}
		if check.good(r); r.failures != 0 {
			t.Errorf("%s failed on the good value", name)
		}
		if check.bad(r); r.failures != 1 {
			t.Error(errors.New(name + " did not fail on the bad value"))
		}
	}
}
