package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestParseErrorsNameTheLineTheWordAndWhatIsAllowed(t *testing.T) {
	for text, say := range map[string]string{
		"wait 5s":                                 `line 1: "wait": want load, at or expect`,
		"load":                                    "line 1: load: want one number",
		"load many":                               `"many": want a number from 1 to 2000`,
		"\n# remark\nload 0":                      `line 3: "0": want a number from 1 to 2000`,
		"at noon stop users":                      `"noon": want a time`,
		"at 5s":                                   "want an action: fault, clear, stop, start, restart or load",
		"at 5s explode users":                     `"explode": want fault, clear, stop, start, restart or load`,
		"at 5s stop":                              `"stop": want one target`,
		"at 5s fault users":                       `"fault": want a target and a kind`,
		"at 5s fault users flood":                 `"flood": want latency=d`,
		"expect a.b =":                            "want a path, an operator and a value",
		"expect a.b == 1":                         `"==": want one of = != < <= > >=`,
		"expect a.b < open":                       `"open": want a number or a duration after <`,
		"expect a.b = 1 soon":                     `"soon": want within D of T, during A..B or at end`,
		"expect a.b = 1 within 2s":                "want within D of T",
		"expect a.b = 1 within x of 5s":           `"x": want a time`,
		"expect a.b = 1 during 5s":                "want a span, such as 5s..11s",
		"expect a.b = 1 during 5s..5s":            "the span is empty",
		"expect a.b = 1 during 5s..x":             `"x": want a time`,
		"load 50\nat 1s stop users\nat -1s x":     `line 3: "-1s": want a time`,
		"at 1s restart users # but not\nat 2s up": `line 2: "up"`,
	} {
		_, err := scenario.Parse("s", text)
		require.Error(t, err, "%q", text)
		assert.Contains(t, err.Error(), say, "%q", text)
	}
}

func TestParseReadsEveryForm(t *testing.T) {
	s, err := scenario.Parse("s", `
load 30                       # remark
at 9s clear all
at 5s fault users latency=2s jitter=100ms for=3s
expect a.b/c.d = open within 2s of 5s
expect a.b >= 1.5 during 1s..20s
expect a.b < 10ms at end
expect a.b != x`)
	require.NoError(t, err)
	assert.Equal(t, 30, s.RPS)
	require.Equal(t, 2, len(s.Steps))
	assert.Equal(t, 5*time.Second, s.Steps[0].At, "steps are in order of time")
	assert.Equal(t, "latency=2s jitter=100ms for=3s", s.Steps[0].Do.Fault.String())
	assert.Equal(t, 4, len(s.Expects))
	assert.Equal(t, 20*time.Second, s.Length())
}

func FuzzParse(f *testing.F) {
	for _, name := range scenario.Names() {
		s, err := scenario.Load(name)
		require.NoError(f, err)
		f.Add(s.Text)
	}
	f.Add("at 5s fault users error=50% status=503 path=/x for=1s\nexpect a = 1 during 1s..2s")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := scenario.Parse("fuzz", text)
		if err != nil {
			assert.Contains(t, err.Error(), "fuzz, line ")
			return
		}
		assert.True(t, s.Length() >= 0, "length %v", s.Length())
	})
}

func TestTheReadmeShowsTheScenarioAsItIs(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "shop", "README.md"))
	require.NoError(t, err)
	for _, name := range scenario.Names() {
		assert.Contains(t, string(readme), "`"+name+"`")
	}
	s, err := scenario.Load("users-blackhole")
	require.NoError(t, err)
	assert.Contains(t, string(readme), "```text\n"+s.Text+"```\n")
}

// fakeShop is a shop whose state the test decides.
type fakeShop struct {
	start     time.Time
	breaker   func(at time.Duration) string
	order     func(at time.Duration) load.Counts
	did       []string
	faults    map[string]string // target by id
	rps       int
	failAfter time.Duration // zero is never
}

func (s *fakeShop) at() time.Duration { return time.Since(s.start) }

func (s *fakeShop) note(text string) error {
	s.did = append(s.did, s.at().String()+" "+text)
	if s.failAfter > 0 && s.at() > s.failAfter {
		return errors.New("no")
	}
	return nil
}

func (s *fakeShop) Inject(r fault.Rule) (fault.Rule, error) {
	r.ID = fmt.Sprint(r.Target, len(s.did))
	s.faults[r.ID] = r.Target
	return r, s.note("fault " + r.Target + " " + r.String())
}

func (s *fakeShop) ClearFault(id string) error {
	if _, ok := s.faults[id]; !ok {
		return errors.New("no such fault")
	}
	delete(s.faults, id)
	return s.note("clear a fault")
}

func (s *fakeShop) Clear(target string) error {
	maps.DeleteFunc(s.faults, func(_, on string) bool { return target == "all" || on == target })
	return s.note("clear " + target)
}
func (s *fakeShop) StopService(name string) error    { return s.note("stop " + name) }
func (s *fakeShop) StartService(name string) error   { return s.note("start " + name) }
func (s *fakeShop) RestartService(name string) error { return s.note("restart " + name) }
func (s *fakeShop) RPS() int                         { return s.rps }
func (s *fakeShop) SetRPS(n int) int                 { s.rps = n; _ = s.note("load " + strconv.Itoa(n)); return n }
func (s *fakeShop) Settle(context.Context)           { _ = s.note("settle") }
func (s *fakeShop) Progress(collect.Scenario)        {}

func (s *fakeShop) State() (out collect.State) {
	out.Services = map[string]collect.Service{"orders": {State: s.breaker(s.at()), RPS: s.at().Seconds()}}
	return out
}

func (s *fakeShop) Totals() map[string]load.Totals {
	return map[string]load.Totals{"order": {Counts: s.order(s.at())}}
}

// judge runs a script of one line against a state that is "open" from 5 s to 8 s
// and a load of ten orders a second, all refused from 5 s to 8 s.
func judge(t *testing.T, text string) (o scenario.Outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		shop := &fakeShop{
			start:  time.Now(),
			faults: map[string]string{},
			breaker: func(at time.Duration) string {
				if at >= 5*time.Second && at < 8*time.Second {
					return "open"
				}
				return "closed"
			},
			order: func(at time.Duration) load.Counts {
				sent := uint64(at.Seconds() * 10)
				refused := uint64(max(0, min(at-5*time.Second, 3*time.Second)).Seconds() * 10)
				return load.Counts{Sent: sent, OK: sent - refused, Refused: refused}
			},
		}
		s, err := scenario.Parse("s", text)
		require.NoError(t, err)
		r, err := scenario.Run(t.Context(), shop, s, scenario.Options{Length: 12 * time.Second})
		require.NoError(t, err)
		require.Equal(t, 1, len(r.Outcomes))
		o = r.Outcomes[0]
	})
	return o
}

func TestExpectations(t *testing.T) {
	for _, c := range []struct {
		text string
		ok   bool
		got  string
		at   float64
	}{
		{"expect services.orders.state = open within 2s of 4s", true, "open", 5},
		{"expect services.orders.state = open within 2s of 2s", false, "closed", 4},
		{"expect services.orders.state = open within 2s of 8s", false, "closed", 10},
		{"expect services.orders.state = open during 5s..7s", true, "open", 7},
		{"expect services.orders.state = open during 6s..9s", false, "closed", 8},
		{"expect services.orders.state = closed during 0s..6s", false, "open", 5},
		{"expect services.orders.state != open at end", true, "closed", 12},
		{"expect services.orders.state = open", false, "closed", 12},
		{"expect services.orders.rps >= 11 within 1s of 11s", true, "11", 11},
		{"expect services.orders.rps < 7 during 6s..8s", false, "7", 7},
		{"expect services.nobody.state != open", false, "nothing at this path", 12},
		{"expect services.orders.state.deeper != open", false, "nothing at this path", 12},
		{"expect services.orders.state > 1", false, "closed", 12},
		{"expect services = 1", false, "map[orders:map[addr: errors:0 inflight:0 pid:0 rps:12 state:closed]]", 12},
		{"expect faults = 0", false, "nothing at this path", 12},
		// Figures of the load are those of the span.
		{"expect load.order.failed = 0 during 0s..5s", true, "0", 5},
		{"expect load.order.refused = 30 during 5s..8s", true, "30", 8},
		{"expect load.order.refused = 0 during 9s..11s", true, "0", 11},
		{"expect load.order.sent = 120", true, "120", 12},
		{"expect load.order.refused > 5 within 2s of 5s", true, "6", 5.6},
		// T15: a percentile of nothing is no number, and none that is below a bound.
		{"expect load.order.p50 <= 1ms during 1s..2s", false, "nothing at this path", 2},
		{"expect load.order.colour = 0", false, "nothing at this path", 12},
		{"expect load.nothing.sent = 0", false, "nothing at this path", 12},
	} {
		o := judge(t, c.text)
		assert.Equal(t, c.ok, o.OK, "%s: got %s at %v", c.text, o.Got, o.At)
		assert.Equal(t, c.got, o.Got, "%s", c.text)
		assert.InDelta(t, c.at, o.At, 0.0001, "%s", c.text)
	}
}

func quiet() *fakeShop {
	return &fakeShop{
		start:   time.Now(),
		faults:  map[string]string{"hand": "gateway"},
		rps:     3,
		breaker: func(time.Duration) string { return "closed" },
		order:   func(time.Duration) load.Counts { return load.Counts{} },
	}
}

func TestStepsAreDoneInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop := quiet()
		s, err := scenario.Parse("s", "load 5\nat 2s fault users blackhole\nat 1s stop orders\nat 3s start orders\nat 3s clear users\nat 4s restart users\nat 4s load 9")
		require.NoError(t, err)
		_, err = scenario.Run(t.Context(), shop, s, scenario.Options{Settle: true})
		require.NoError(t, err)
		assert.Equal(t, []string{
			"0s load 5", "1s stop orders", "2s fault users blackhole", "3s start orders", "3s clear users", "4s restart users", "4s load 9",
			"4s settle", "4s load 3", "4s start orders",
		}, shop.did)
	})
}

// T29: no fault, no stopped service and no load outlives its scenario, however it
// ends. What somebody has broken by hand stays broken.
func TestNothingOutlivesAScenario(t *testing.T) {
	for name, c := range map[string]struct{ cancelAfter, failAfter time.Duration }{
		"in time":         {time.Hour, time.Hour},
		"cancelled":       {2500 * time.Millisecond, time.Hour},
		"step that fails": {time.Hour, 2500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shop := quiet()
				shop.failAfter = c.failAfter
				ctx, cancel := context.WithTimeout(t.Context(), c.cancelAfter)
				defer cancel()
				s, err := scenario.Parse("s", "at 1s fault users blackhole\nat 2s stop orders\nat 3s clear users\nat 4s load 7")
				require.NoError(t, err)
				_, err = scenario.Run(ctx, shop, s, scenario.Options{})
				assert.Equal(t, name == "in time", err == nil)
				assert.Equal(t, map[string]string{"hand": "gateway"}, shop.faults)
				assert.Equal(t, 3, shop.rps)
				assert.True(t, strings.HasSuffix(shop.did[len(shop.did)-1], "start orders"), "%v", shop.did)
			})
		})
	}
}

func TestARunThatIsCutShortIsNotComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := scenario.Parse("s", "expect services.orders.state = closed during 3s..4s")
		require.NoError(t, err)
		r, err := scenario.Run(ctx, quiet(), s, scenario.Options{})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.False(t, r.Complete)
		assert.Equal(t, 1, r.Failed())
		assert.Equal(t, "never looked at", r.Outcomes[0].Got)
	})
}

func TestReports(t *testing.T) {
	r := scenario.Result{
		Scenario: "s", Complete: true, Totals: map[string]load.Totals{"order": {Counts: load.Counts{Sent: 7, OK: 4, Refused: 2, Failed: 1}}},
		Outcomes: []scenario.Outcome{{OK: true, Text: "expect a"}, {Text: "expect b", Wanted: "= 1", Got: "2", At: 3}},
	}
	h := scenario.Header{Scenario: "s", Preset: "fast", Seed: 5, Length: "9s", Repeat: "go run it", Sabotage: "no-breaker"}
	var text, js strings.Builder
	r.WriteText(&text, h)
	for _, want := range []string{"seed 5", "sabotage no-breaker", "ok    expect a", "FAIL  expect b", "wanted = 1, got 2 at 3.0s", "1 of 2 expectations hold", "repeat: go run it"} {
		assert.Contains(t, text.String(), want)
	}
	assert.Contains(t, strings.Join(strings.Fields(text.String()), " "), "order 7 4 3 2 0 0.0ms 0.0ms")
	require.NoError(t, r.WriteJSON(&js, h))
	for _, want := range []string{`"ok": false`, `"repeat": "go run it"`, `"failed": 3`, `"got": "2"`} {
		assert.Contains(t, js.String(), want)
	}
}
