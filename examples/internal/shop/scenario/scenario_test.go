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
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestParseErrorsNameTheLineTheWordAndWhatIsAllowed(t *testing.T) {
	for text, say := range map[string]string{
		"wait 5s":                                 `line 1: "wait": want load, needs, at or expect`,
		"load":                                    "line 1: load: want one number",
		"load many":                               `"many": want a number from 1 to 2000`,
		"\n# remark\nload 0":                      `line 3: "0": want a number from 1 to 2000`,
		"at noon stop users":                      `"noon": want a time`,
		"at 5s":                                   "want an action: fault, clear, kill, stop, start, restart, scale, set, load, shards, buy or send",
		"at 5s explode users":                     `"explode": want fault, clear, kill, stop`,
		"at 5s kill":                              `"kill": want one target`,
		"at 5s scale products":                    `"scale": want a service and a number`,
		"at 5s scale products 9":                  `"9": want a number from 1 to 5`,
		"at 5s set rain on":                       `"rain": want a switch: breakers, retries`,
		"at 5s set l1 perhaps":                    `"perhaps": want on or off`,
		"at 5s shards many":                       `"many": want a number from 1 to 16`,
		"at 5s buy P-1 500":                       `"buy": want a SKU, buyers and stock`,
		"at 5s buy P-1 0 10":                      `"0": want a number from 1 to 2000`,
		"at 5s send email-queue":                  `"send": want a topic and a body`,
		"at 5s load many":                         `"many": want a number`,
		"at 5s fault broker crash=before":         "want down",
		"at 5s fault >x blackhole":                "want CALLER>CALLEE",
		"load 5 browse":                           `"browse": want OPERATION=SHARE`,
		"load 5 steal=3":                          "the operation one of browse, order, view, signup",
		"load 5 browse=0":                         "add up to 0",
		"needs":                                   "want settings",
		"needs saga=ballet":                       "saga=orchestration|choreography",
		"expect a.b < 2x baseline":                "line 1: there is no time before the first step",
		"at 1s stop x\nexpect a < 2 baseline":     "want a factor such as 1.2x",
		"at 1s stop x\nexpect a < -2x baseline":   "want a factor such as 1.2x",
		"at 1s stop x\nexpect a < 2x baseline +x": "behind the plus",
		"expect +a.b = open":                      "want a number or a duration",
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
load 30 browse=3 order=1      # remark
needs saga=choreography procs=true
at 9s clear all
at 10s kill orders
at 10s scale products 3
at 10s set l1 off
at 10s shards 5
at 10s buy P-9 500 100
at 10s send email-queue {"to": 7}
at 5s fault users latency=2s jitter=100ms for=3s
expect a.b/c.d = open within 2s of 5s
expect a.b >= 1.5 during 1s..20s
expect a.b < 10ms at end
expect a.b != x
expect +a.b <= 1.2x baseline +5ms during 5s..6s`)
	require.NoError(t, err)
	assert.Equal(t, 30, s.RPS)
	assert.Equal(t, load.Mix{"browse": 3, "order": 1}, s.Mix)
	assert.Equal(t, map[string]string{"saga": "choreography", "procs": "true"}, s.Needs)
	require.Equal(t, 8, len(s.Steps))
	assert.Equal(t, scenario.Action{Verb: "buy", Target: "P-9", N: 500, Stock: 100}, s.Steps[6].Do)
	assert.Equal(t, scenario.Action{Verb: "send", Target: "email-queue", Value: `{"to": 7}`}, s.Steps[7].Do)
	assert.Equal(t, 5*time.Second, s.Steps[0].At, "steps are in order of time")
	assert.Equal(t, "latency=2s jitter=100ms for=3s", s.Steps[0].Do.Fault.String())
	assert.Equal(t, 5, len(s.Expects))
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
		assert.True(t, strings.Contains(string(readme), "\n| `"+name+"` | "), "the README's table lacks %s", name)
	}
	s, err := scenario.Load("payment-blackhole")
	require.NoError(t, err)
	assert.True(t, strings.Contains(string(readme), "```text\n"+s.Text+"```\n"), "the README shows another payment-blackhole")
}

// fakeShop is a shop whose state the test decides.
type fakeShop struct {
	start     time.Time
	breaker   func(at time.Duration) string
	order     func(at time.Duration) load.Counts
	did       []string
	faults    map[string]string // target by id
	switches  map[string]string
	rps       int
	mix       load.Mix
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

func (s *fakeShop) Do(_ context.Context, a scenario.Action) (func(), error) {
	switch a.Verb {
	case "fault":
		id := fmt.Sprint(a.Fault.Target, len(s.did))
		s.faults[id] = a.Fault.Target
		return func() { delete(s.faults, id) }, s.note("fault " + a.Fault.Where() + " " + a.Fault.String())
	case "clear":
		maps.DeleteFunc(s.faults, func(_, on string) bool { return a.Target == "all" || on == a.Target })
		return nil, s.note("clear " + a.Target)
	case "stop", "kill":
		return func() { _ = s.note("start " + a.Target) }, s.note(a.Verb + " " + a.Target)
	case "set":
		before := s.switches[a.Target]
		s.switches[a.Target] = a.Value
		return func() { s.switches[a.Target] = before }, s.note("set " + a.Target + " " + a.Value)
	}
	return nil, s.note(a.Verb + " " + a.Target)
}

func (s *fakeShop) Load() (int, load.Mix) { return s.rps, s.mix }

func (s *fakeShop) SetLoad(rps int, mix load.Mix) {
	s.rps = rps
	if mix != nil {
		s.mix = mix
	}
	_ = s.note("load " + strconv.Itoa(rps))
}
func (s *fakeShop) Settle(context.Context)    { _ = s.note("settle") }
func (s *fakeShop) Progress(collect.Scenario) {}

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
		{"expect +load.order.sent = 20 during 4s..6s", true, "20", 6},
		{"expect +services.orders.rps = 2 during 4s..6s", true, "2", 6},
		{"expect +services.orders.state = 2 during 4s..6s", false, "nothing at this path", 6},
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

// A figure is compared with what it was before anything was done: of the load over
// that time as a whole, of all else the mean. One that was not there compares with
// nothing.
func TestBaselines(t *testing.T) {
	const stop = "at 4s stop users\n"
	for _, c := range []struct {
		text   string
		ok     bool
		wanted string
	}{
		// The mean of rps from 1 s to 4 s is 2.5, and at 5 s it is 5.
		{"expect services.orders.rps <= 2x baseline during 4s..5s", true, "<= 2x baseline (5)"},
		{"expect services.orders.rps < 2x baseline during 4s..5s", false, "< 2x baseline (5)"},
		{"expect services.orders.rps < 2x baseline +1 during 4s..5s", true, "< 2x baseline +1 (6)"},
		// 30 orders in the three calm seconds.
		{"expect load.order.sent <= 1x baseline during 4s..7s", true, "<= 1x baseline (30)"},
		{"expect load.order.sent <= 0.5x baseline during 4s..7s", false, "<= 0.5x baseline (15)"},
		{"expect services.nobody.rps >= 1x baseline during 4s..5s", false, ">= 1x baseline (0)"},
	} {
		o := judge(t, stop+c.text)
		assert.Equal(t, c.ok, o.OK, "%s: got %s", c.text, o.Got)
		assert.Equal(t, c.wanted, o.Wanted)
	}
}

func quiet() *fakeShop {
	return &fakeShop{
		start:  time.Now(),
		faults: map[string]string{"hand": "gateway"}, switches: map[string]string{"l1": "on"},
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
			"4s settle", "4s start orders", "4s load 3",
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
				s, err := scenario.Parse("s", "at 1s fault users blackhole\nat 2s stop orders\nat 2s set l1 off\nat 3s clear users\nat 4s load 7")
				require.NoError(t, err)
				_, err = scenario.Run(ctx, shop, s, scenario.Options{})
				assert.Equal(t, name == "in time", err == nil)
				assert.Equal(t, map[string]string{"hand": "gateway"}, shop.faults)
				assert.Equal(t, 3, shop.rps)
				assert.Equal(t, "on", shop.switches["l1"])
				assert.True(t, strings.HasSuffix(shop.did[len(shop.did)-2], "start orders"), "%v", shop.did)
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
		Scenario: "s", Complete: true, Totals: map[string]load.Totals{"order": {Counts: load.Counts{Sent: 7, OK: 3, Fallback: 1, Refused: 2, Failed: 1}}},
		Lamps:    []scenario.Lamp{{Name: "money", Lamp: collect.Lamp{Status: "ok", Detail: "1 = 1"}}, {Name: "stock", Lamp: collect.Lamp{Status: "unknown"}}},
		Outcomes: []scenario.Outcome{{OK: true, Text: "expect a"}, {Text: "expect b", Wanted: "= 1", Got: "2", At: 3}},
	}
	h := scenario.Header{Scenario: "s", Preset: "fast", Seed: 5, Length: "9s", Repeat: "go run it", Sabotage: "no-breaker"}
	var text, js strings.Builder
	r.WriteText(&text, h)
	for _, want := range []string{"seed 5", "sabotage no-breaker", "ok    expect a", "FAIL  expect b", "wanted = 1, got 2 at 3.0s", "ok    lamp money", "1 = 1", "FAIL  lamp stock", "2 of 4 checks hold", "repeat: go run it"} {
		assert.Contains(t, text.String(), want)
	}
	assert.Contains(t, strings.Join(strings.Fields(text.String()), " "), "order 7 3 1 3 2 0 0.0ms 0.0ms")
	require.NoError(t, r.WriteJSON(&js, h))
	for _, want := range []string{`"ok": false`, `"repeat": "go run it"`, `"failed": 3`, `"got": "2"`} {
		assert.Contains(t, js.String(), want)
	}
}
