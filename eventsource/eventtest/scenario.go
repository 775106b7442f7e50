package eventtest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
)

// Scenario is one test of a decider, as a sentence:
//
//	eventtest.For(t, account).
//		Given(Opened{"ann"}, Deposited{1000}).
//		When(Withdraw{5000}).
//		ThenError(ErrFunds)
//
// It needs no store and no codec. A Scenario is a value: each method returns a
// new one, so that several can go on from one Given. A second When decides on
// the state after the first.
type Scenario[C, E, S any] struct {
	t       testing.TB
	decider eventsource.Decider[C, E, S]
	history []E // that Given and earlier Whens made
	events  []E // of the last When
	err     error
	when    bool
}

// For begins a scenario with the initial state.
func For[C, E, S any](t testing.TB, d eventsource.Decider[C, E, S]) Scenario[C, E, S] {
	t.Helper()
	if d.Evolve == nil || d.Decide == nil {
		t.Fatal("eventtest: the decider lacks Evolve or Decide")
	}
	return Scenario[C, E, S]{t: t, decider: d}
}

// Given adds to what has happened before.
func (s Scenario[C, E, S]) Given(history ...E) Scenario[C, E, S] {
	s.history = append(s.past(), history...)
	s.events, s.err, s.when = nil, nil, false
	return s
}

// When decides on a command.
func (s Scenario[C, E, S]) When(cmd C) Scenario[C, E, S] {
	s.history = s.past()
	s.events, s.err = s.decider.Decide(s.state(s.history), cmd)
	s.when = true
	return s
}

// Then fails the test unless the last When has decided on these events and no
// others; none at all for a command that changes nothing.
func (s Scenario[C, E, S]) Then(events ...E) Scenario[C, E, S] {
	s.t.Helper()
	s.needs("Then")
	switch {
	case s.err != nil:
		s.t.Errorf("When: unexpected error: %v", s.err)
	case len(events)+len(s.events) > 0 && !reflect.DeepEqual(events, s.events):
		s.t.Errorf("Then: other events\nwant: %s\ngot:  %s", list(events), list(s.events))
	}
	return s
}

// ThenState fails the test unless the state, after the events of When if there
// was one, is deeply equal to want.
func (s Scenario[C, E, S]) ThenState(want S) Scenario[C, E, S] {
	s.t.Helper()
	if s.err != nil {
		s.t.Errorf("When: unexpected error: %v", s.err)
		return s
	}
	if got := s.state(s.past()); !reflect.DeepEqual(want, got) {
		s.t.Errorf("ThenState: another state\nwant: %+v\ngot:  %+v", want, got)
	}
	return s
}

// ThenError fails the test unless the last When was refused with an error that
// matches target, by errors.Is, and decided on no events.
func (s Scenario[C, E, S]) ThenError(target error) Scenario[C, E, S] {
	s.t.Helper()
	s.needs("ThenError")
	switch {
	case s.err == nil:
		s.t.Errorf("ThenError: want %v, got no error and the events %s", target, list(s.events))
	case !errors.Is(s.err, target):
		s.t.Errorf("ThenError: another error\nwant: %v\ngot:  %v", target, s.err)
	case len(s.events) > 0:
		s.t.Errorf("ThenError: %v, but with the events %s", s.err, list(s.events))
	}
	return s
}

// past is everything that has happened, in a slice of its own.
func (s Scenario[C, E, S]) past() []E {
	past := append([]E(nil), s.history...)
	if s.err != nil {
		return past
	}
	return append(past, s.events...)
}

func (s Scenario[C, E, S]) state(history []E) (state S) {
	if s.decider.Initial != nil {
		state = s.decider.Initial()
	}
	for _, e := range history {
		state = s.decider.Evolve(state, e)
	}
	return state
}

func (s Scenario[C, E, S]) needs(method string) {
	s.t.Helper()
	if !s.when {
		s.t.Fatalf("eventtest: %s without a When before it", method)
	}
}

// list shows events with their types.
func list[E any](events []E) string {
	if len(events) == 0 {
		return "none"
	}
	texts := make([]string, len(events))
	for i, e := range events {
		texts[i] = fmt.Sprintf("%T%+v", e, e)
	}
	return strings.Join(texts, ", ")
}
