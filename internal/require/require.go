// Package require is package assert for what a test cannot go on without: a
// failed check ends the test.
package require

import (
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
)

// Equal ends t unless got deeply equals want.
func Equal(t testing.TB, want, got any, msg ...any) {
	t.Helper()
	stopUnless(t, assert.Equal(t, want, got, msg...))
}

// True ends t unless ok.
func True(t testing.TB, ok bool, msg ...any) {
	t.Helper()
	stopUnless(t, assert.True(t, ok, msg...))
}

// Nil ends t unless v is nil.
func Nil(t testing.TB, v any, msg ...any) {
	t.Helper()
	stopUnless(t, assert.Nil(t, v, msg...))
}

// NoError ends t if err is not nil.
func NoError(t testing.TB, err error, msg ...any) {
	t.Helper()
	stopUnless(t, assert.NoError(t, err, msg...))
}

// Error ends t if err is nil.
func Error(t testing.TB, err error, msg ...any) {
	t.Helper()
	stopUnless(t, assert.Error(t, err, msg...))
}

// ErrorIs ends t unless errors.Is(err, target).
func ErrorIs(t testing.TB, err, target error, msg ...any) {
	t.Helper()
	stopUnless(t, assert.ErrorIs(t, err, target, msg...))
}

func stopUnless(t testing.TB, ok bool) {
	t.Helper()
	if !ok {
		t.FailNow()
	}
}
