package scenario

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// Shop is what a script acts on and looks at.
type Shop interface {
	Inject(r fault.Rule) (fault.Rule, error)
	ClearFault(id string) error
	Clear(target string) error // "all" for every target
	StopService(name string) error
	StartService(name string) error
	RestartService(name string) error
	RPS() int
	SetRPS(n int) int
	Settle(ctx context.Context) // stops the load, and waits for what is on its way
	State() collect.State
	Totals() map[string]load.Totals
	Progress(s collect.Scenario)
}

// Result is what a run has seen.
type Result struct {
	Scenario string                 `json:"scenario"`
	Length   time.Duration          `json:"length"` // ns
	Complete bool                   `json:"complete"`
	Outcomes []Outcome              `json:"expectations"`
	Totals   map[string]load.Totals `json:"-"` // of the run alone
}

// Failed counts the expectations that did not hold.
func (r Result) Failed() (n int) {
	for _, o := range r.Outcomes {
		if !o.OK {
			n++
		}
	}
	return n
}

const sampleEvery = 100 * time.Millisecond

// run is one run of a script. It stands outside the shop, like a visitor: it uses
// what the page uses, and looks at what the page looks at.
type run struct {
	shop   Shop
	script Script
	start  time.Time
	judges []*judge
	next   int      // step
	faults []string // ids of those that steps have put in force
	state  collect.Scenario
	settle bool
}

// Options vary a run. The zero value is what the page uses.
type Options struct {
	Length time.Duration // at least; the script's own length if that is longer
	RPS    int           // of a script that does not say; zero leaves the load as it is
	Settle bool          // the load ends with the run, and is over before the end is judged
}

// Run runs the script and judges what it sees. Whatever happens, no fault and no
// stopped service of the script outlives it, and the load is what it was; a fault
// that somebody has put in force by hand is his to clear.
//
// The error is about a step that could not be done, or ctx's end; the result is
// then what was seen until that point.
func Run(ctx context.Context, shop Shop, script Script, o Options) (Result, error) {
	r := &run{shop: shop, script: script, start: time.Now(), settle: o.Settle}
	length := max(o.Length, script.Length())
	for _, e := range script.Expects {
		r.judges = append(r.judges, newJudge(e))
	}
	before, rps := shop.Totals(), shop.RPS()
	if n := cmp.Or(script.RPS, o.RPS); n > 0 {
		shop.SetRPS(n)
	}
	r.state = collect.Scenario{Name: script.Name, Running: true, Started: r.start.UnixMilli(), LengthS: length.Seconds()}
	r.progress("started")
	// Also after an error: what was seen until then is what explains it.
	err := r.loop(ctx, length)
	r.restore(rps)
	result := Result{Scenario: script.Name, Length: length, Complete: err == nil, Totals: since(before, shop.Totals())}
	for _, j := range r.judges {
		result.Outcomes = append(result.Outcomes, j.outcome)
	}
	r.state.Running, r.state.Failed, r.state.Passed = false, result.Failed(), len(r.judges)-result.Failed()
	switch {
	case err != nil:
		r.progress("ended early: " + err.Error())
	case result.Failed() > 0:
		r.progress(fmt.Sprintf("done: %d of %d expectations failed", result.Failed(), len(r.judges)))
	default:
		r.progress(fmt.Sprintf("done: all %d expectations hold", len(r.judges)))
	}
	return result, err
}

// loop does what is due and looks, ten times a second. Steps come before the
// sample of the same moment, so "at 5s" is over when 5s is judged.
func (r *run) loop(ctx context.Context, length time.Duration) error {
	// Time is read and never counted: on a machine that is busy ticks are dropped,
	// and a script that counted them would run slower than its own faults.
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		t := time.Since(r.start)
		if err := r.steps(t); err != nil {
			return err
		}
		// The load ends before the last look, or requests on their way would be
		// neither served nor failed, and the table would not add up.
		last := t >= length
		if last && r.settle {
			r.shop.Settle(ctx)
		}
		if err := r.look(t, last); err != nil {
			return err
		}
		if last {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// steps does what is due at t.
func (r *run) steps(t time.Duration) error {
	for ; r.next < len(r.script.Steps) && r.script.Steps[r.next].At <= t; r.next++ {
		step := r.script.Steps[r.next]
		r.progress(step.Text) // before it is done, so that the log tells cause before effect
		if err := r.do(step.Do); err != nil {
			return fmt.Errorf("line %d: %w", step.Line, err)
		}
	}
	return nil
}

func (r *run) do(a Action) (err error) {
	switch a.Verb {
	case "fault":
		var rule fault.Rule
		if rule, err = r.shop.Inject(a.Fault); err == nil {
			r.faults = append(r.faults, rule.ID)
		}
	case "clear":
		err = r.shop.Clear(a.Target)
	case "stop":
		err = r.shop.StopService(a.Target)
	case "start":
		err = r.shop.StartService(a.Target)
	case "restart":
		err = r.shop.RestartService(a.Target)
	case "load":
		r.shop.SetRPS(a.RPS)
	}
	return err
}

// restore undoes what steps may have left behind.
func (r *run) restore(rps int) {
	for _, id := range r.faults {
		_ = r.shop.ClearFault(id) // unless its time has cleared it
	}
	r.shop.SetRPS(rps)
	// Whatever was stopped is started, also what a later step has started already:
	// that does nothing, and keeping book of it would be one more thing to be wrong.
	for _, step := range r.script.Steps[:r.next] {
		if step.Do.Verb == "stop" {
			_ = r.shop.StartService(step.Do.Target) // runs already, or was known when it was stopped
		}
	}
}

// look takes a sample in the form in which clients get it, as JSON: what a
// script can name is what GET /state shows, no more and no less.
func (r *run) look(t time.Duration, last bool) error {
	raw, err := json.Marshal(r.shop.State())
	if err != nil {
		return err
	}
	s := &sample{totals: r.shop.Totals()}
	if err := json.Unmarshal(raw, &s.doc); err != nil {
		return err
	}
	for _, j := range r.judges {
		j.observe(t, s, last)
	}
	return nil
}

func (r *run) progress(line string) {
	r.state.Line = line
	r.shop.Progress(r.state)
}

// sample is the shop at one moment.
type sample struct {
	doc    map[string]any
	totals map[string]load.Totals
}

// look returns the value at path, a number or a string, nil if there is none.
// The figures of an operation of the load are those since base.
func (s *sample) look(path string, base map[string]load.Totals) any {
	// Figures of an operation come from the totals: those in the document are of the
	// last ten seconds, which is no span that a script has named.
	words := strings.Split(path, ".")
	if t, ok := s.totals[words[min(1, len(words)-1)]]; ok && len(words) == 3 && words[0] == "load" {
		return figure(t, base[words[1]], words[2])
	}
	var v any = s.doc
	for _, w := range words {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[w]
	}
	switch v := v.(type) {
	case float64, string, nil:
		return v
	case []any: // "expect faults = 0": of a list its length
		return float64(len(v))
	default:
		return fmt.Sprint(v)
	}
}

// figure is one figure of an operation since base; nil for an unknown one.
func figure(now, base load.Totals, name string) any {
	c := now.Counts.Minus(base.Counts)
	h := now.Latency.Minus(base.Latency)
	ms := func(q float64) any {
		if h.Count() == 0 {
			return nil // of nothing there is no percentile, and a zero would pass for a fast one
		}
		return float64(h.Quantile(q)) / float64(time.Millisecond)
	}
	switch name {
	case "sent":
		return float64(c.Sent)
	case "ok":
		return float64(c.OK)
	case "failed":
		return float64(c.Unserved())
	case "refused":
		return float64(c.Refused)
	case "broken":
		return float64(c.Broken)
	case "p50":
		return ms(0.5)
	case "p99":
		return ms(0.99)
	case "p999":
		return ms(0.999)
	}
	return nil
}

// since is what was counted between two totals: a shop that has run for an hour
// before the scenario must not lend it its good figures.
func since(before, after map[string]load.Totals) map[string]load.Totals {
	out := map[string]load.Totals{}
	for op, t := range after {
		out[op] = load.Totals{Counts: t.Counts.Minus(before[op].Counts), Latency: t.Latency.Minus(before[op].Latency)}
	}
	return out
}
