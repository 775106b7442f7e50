package eventtest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/internal/assert"
)

// The decider of these tests counts to three: a command n asks for n more.
type counted int

var errFull = errors.New("full")

var counter = eventsource.Decider[int, counted, []int]{
	Initial: func() []int { return []int{0} },
	Evolve:  func(s []int, e counted) []int { return append(s, int(e)) },
	Decide: func(s []int, n int) (events []counted, err error) {
		for i := range n {
			events = append(events, counted(len(s)+i))
		}
		if len(s)+n > 4 {
			return events[:max(0, n-5)], fmt.Errorf("no room for %d: %w", n, errFull)
		}
		return events, nil
	},
}

func TestScenariosThatHold(t *testing.T) {
	some := eventtest.For(t, counter).ThenState([]int{0}).Given(1).ThenState([]int{0, 1})
	some.When(2).Then(2, 3).ThenState([]int{0, 1, 2, 3}).When(1).ThenError(errFull)
	some.When(0).Then()
	some.When(1).Then(2).When(1).Then(3).Given(9).ThenState([]int{0, 1, 2, 3, 9})
	some.When(5).ThenError(errFull).Given(2).ThenState([]int{0, 1, 2})
	some.ThenState([]int{0, 1}) // none of the above has changed it
}

// failing is a testing.TB that notes failures.
type failing struct {
	testing.TB
	said []string
}

func (f *failing) Helper()                   {}
func (f *failing) Errorf(s string, a ...any) { f.said = append(f.said, fmt.Sprintf(s, a...)) }
func (f *failing) Fatalf(s string, a ...any) { f.Errorf(s, a...); panic(f) }
func (f *failing) Fatal(a ...any)            { f.Errorf("%s", fmt.Sprint(a...)); panic(f) }

func TestScenariosThatFailSayWhy(t *testing.T) {
	type scenario = eventtest.Scenario[int, counted, []int]
	for say, play := range map[string]func(scenario){
		"want: eventtest_test.counted1\ngot:  eventtest_test.counted1, eventtest_test.counted2": func(s scenario) { s.When(2).Then(1) },
		"want: none\ngot:  eventtest_test.counted1":                                             func(s scenario) { s.When(1).Then() },
		"want: eventtest_test.counted1\ngot:  none":                                             func(s scenario) { s.When(0).Then(1) },
		"unexpected error: no room for 4: full":                                                 func(s scenario) { s.When(4).Then(1) },
		"unexpected error: no room for 5: full":                                                 func(s scenario) { s.When(5).ThenState(nil) },
		"want: [7]\ngot:  [0]":                                                                  func(s scenario) { s.ThenState([]int{7}) },
		"want full, got no error and the events eventtest_test.counted1":                        func(s scenario) { s.When(1).ThenError(errFull) },
		"want: EOF\ngot:  no room for 4: full":                                                  func(s scenario) { s.When(4).ThenError(errors.New("EOF")) },
		"but with the events eventtest_test.counted1":                                           func(s scenario) { s.When(6).ThenError(errFull) },
		"Then without a When":                                                                   func(s scenario) { s.Given(1).Then(1) },
		"ThenError without a When":                                                              func(s scenario) { s.When(1).Given(1).ThenError(errFull) },
	} {
		f := &failing{TB: t}
		func() {
			defer func() { _ = recover() }()
			play(eventtest.For(f, counter))
		}()
		if assert.Equal(t, 1, len(f.said), say) {
			assert.Contains(t, f.said[0], say)
		}
	}
	f := &failing{TB: t}
	assert.Panics(t, func() { eventtest.For(f, eventsource.Decider[int, counted, []int]{}) })
	assert.Contains(t, f.said[0], "lacks Evolve or Decide")
}
