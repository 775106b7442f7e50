// Package assert is the part of testify's assert that keelson's own tests
// use, under the same names, written on the standard library alone.
//
// Why not testify itself: "go mod tidy" in a user's module follows the tests
// of each package that is imported directly, so one testify import in
// breaker's tests puts four lines into the go.sum of everybody who imports
// breaker. Tests of packages that users do not import use testify.
package assert

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// Equal fails t unless got deeply equals want.
func Equal(t testing.TB, want, got any, msg ...any) bool {
	t.Helper()
	if reflect.DeepEqual(want, got) {
		return true
	}
	return fail(t, msg, "not equal\nwant: %#v (%[1]v)\ngot:  %#v (%[2]v)", want, got)
}

// NotEqual fails t if got deeply equals other.
func NotEqual(t testing.TB, other, got any, msg ...any) bool {
	t.Helper()
	if !reflect.DeepEqual(other, got) {
		return true
	}
	return fail(t, msg, "should differ from %#v", other)
}

// Same fails t unless both values are identical by ==, as pointers are.
func Same(t testing.TB, want, got any, msg ...any) bool {
	t.Helper()
	if want == got {
		return true
	}
	return fail(t, msg, "not the same\nwant: %#v\ngot:  %#v", want, got)
}

// True fails t unless ok.
func True(t testing.TB, ok bool, msg ...any) bool {
	t.Helper()
	if ok {
		return true
	}
	return fail(t, msg, "should be true")
}

// False fails t if ok.
func False(t testing.TB, ok bool, msg ...any) bool {
	t.Helper()
	if !ok {
		return true
	}
	return fail(t, msg, "should be false")
}

// Nil fails t unless v is nil or a nil pointer, map, slice, func or channel.
func Nil(t testing.TB, v any, msg ...any) bool {
	t.Helper()
	if isNil(v) {
		return true
	}
	return fail(t, msg, "should be nil, is %#v", v)
}

// NotNil fails t if v is nil.
func NotNil(t testing.TB, v any, msg ...any) bool {
	t.Helper()
	if !isNil(v) {
		return true
	}
	return fail(t, msg, "should not be nil")
}

// NoError fails t if err is not nil.
func NoError(t testing.TB, err error, msg ...any) bool {
	t.Helper()
	if err == nil {
		return true
	}
	return fail(t, msg, "unexpected error: %v", err)
}

// Error fails t if err is nil.
func Error(t testing.TB, err error, msg ...any) bool {
	t.Helper()
	if err != nil {
		return true
	}
	return fail(t, msg, "an error is expected")
}

// ErrorIs fails t unless errors.Is(err, target).
func ErrorIs(t testing.TB, err, target error, msg ...any) bool {
	t.Helper()
	if errors.Is(err, target) {
		return true
	}
	return fail(t, msg, "error does not match\nwant: %v\ngot:  %v", target, err)
}

// NotErrorIs fails t if errors.Is(err, target).
func NotErrorIs(t testing.TB, err, target error, msg ...any) bool {
	t.Helper()
	if !errors.Is(err, target) {
		return true
	}
	return fail(t, msg, "error must not match %v, is %v", target, err)
}

// Contains fails t unless s contains part.
func Contains(t testing.TB, s, part string, msg ...any) bool {
	t.Helper()
	if strings.Contains(s, part) {
		return true
	}
	return fail(t, msg, "%q does not contain %q", s, part)
}

// InDelta fails t unless got is within delta of want.
func InDelta(t testing.TB, want, got, delta float64, msg ...any) bool {
	t.Helper()
	if math.Abs(want-got) <= delta {
		return true
	}
	return fail(t, msg, "want %v, within %v, got %v", want, delta, got)
}

// Panics fails t unless fn panics, and returns what it panicked with.
func Panics(t testing.TB, fn func(), msg ...any) (value any) {
	t.Helper()
	defer func() {
		t.Helper()
		if value = recover(); value == nil {
			fail(t, msg, "should panic")
		}
	}()
	fn()
	return nil
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan, reflect.Interface:
		return r.IsNil()
	default:
		return false
	}
}

// fail reports with the caller's own words first: msg is a format and its
// arguments, as in testify.
func fail(t testing.TB, msg []any, format string, args ...any) bool {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	if len(msg) > 0 {
		text = fmt.Sprintf(fmt.Sprint(msg[0]), msg[1:]...) + ": " + text
	}
	t.Error(text)
	return false
}
