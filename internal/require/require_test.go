package require

import (
	"io"
	"testing"
)

// recorder is a testing.TB that notes whether a failed check also ended it.
type recorder struct {
	testing.TB
	failed, ended bool
}

func (r *recorder) Helper()      {}
func (r *recorder) Error(...any) { r.failed = true }
func (r *recorder) FailNow()     { r.ended = true }

func TestAFailedCheckEndsTheTest(t *testing.T) {
	for name, bad := range map[string]func(testing.TB){
		"Equal":   func(t testing.TB) { Equal(t, 1, 2) },
		"True":    func(t testing.TB) { True(t, false) },
		"Nil":     func(t testing.TB) { Nil(t, 1) },
		"NoError": func(t testing.TB) { NoError(t, io.EOF) },
		"Error":   func(t testing.TB) { Error(t, nil) },
		"ErrorIs": func(t testing.TB) { ErrorIs(t, nil, io.EOF) },
	} {
		r := &recorder{}
		if bad(r); !r.failed || !r.ended {
			t.Errorf("%s: failed %v, ended %v", name, r.failed, r.ended)
		}
	}
	r := &recorder{}
	Equal(r, 1, 1)
	if r.failed || r.ended {
		t.Error("a check that holds must not end the test")
	}
}
