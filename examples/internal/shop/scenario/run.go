package scenario

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// Shop is what a script acts on and looks at.
type Shop interface {
	// Do does one action and returns what takes it back, nil if nothing does.
	Do(ctx context.Context, a Action) (undo func(), err error)
	Load() (rps int, mix load.Mix)
	SetLoad(rps int, mix load.Mix) // a nil mix leaves it as it is
	Settle(ctx context.Context)    // stops the load, and waits for what is on its way, sagas too
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
	Lamps    []Lamp                 `json:"lamps"`
	Totals   map[string]load.Totals `json:"-"` // of the run alone
}

// Lamp is an invariant as it stood at the end.
type Lamp struct {
	Name string `json:"name"`
	collect.Lamp
}

// Failed counts the expectations that did not hold, and the lamps that were not
// ok: one that could not be judged has shown nothing.
func (r Result) Failed() (n int) {
	for _, o := range r.Outcomes {
		if !o.OK {
			n++
		}
	}
	for _, l := range r.Lamps {
		if l.Status != collect.LampOK {
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
	undos  []func() // of what steps have done, in their order
	state  collect.Scenario
	settle bool
}

// Options vary a run. The zero value is what a test of the runner uses.
type Options struct {
	Length time.Duration // at least; the script's own length if that is longer
	RPS    int           // of a script that does not say; zero leaves the load as it is
	Settle bool          // the load ends with the run, and is over before the end is judged
}

// Run runs the script and judges what it sees. Whatever happens, no fault, no
// stopped service and no switch of the script outlives it, and the load is what it
// was; a fault that somebody has put in force by hand is his to clear.
//
// The error is about a step that could not be done, or ctx's end; the result is
// then what was seen until that point.
func Run(ctx context.Context, shop Shop, script Script, o Options) (Result, error) {
	r := &run{shop: shop, script: script, start: time.Now(), settle: o.Settle}
	length := max(o.Length, script.Length())
	for _, e := range script.Expects {
		r.judges = append(r.judges, newJudge(e, script))
	}
	before := shop.Totals()
	rps, mix := shop.Load()
	shop.SetLoad(cmp.Or(script.RPS, o.RPS, rps), script.Mix)
	r.state = collect.Scenario{Name: script.Name, Running: true, Started: r.start.UnixMilli(), LengthS: length.Seconds()}
	r.progress("started")
	// Also after an error: what was seen until then is what explains it.
	err := r.loop(ctx, length)
	r.restore()
	result := Result{Scenario: script.Name, Length: length, Complete: err == nil, Totals: since(before, shop.Totals()), Lamps: Lamps(shop.State())}
	shop.SetLoad(rps, mix)
	for _, j := range r.judges {
		result.Outcomes = append(result.Outcomes, j.outcome)
	}
	r.finish(result, err)
	return result, err
}

// finish tells how it went.
func (r *run) finish(result Result, err error) {
	total := len(result.Outcomes) + len(result.Lamps)
	r.state.Running, r.state.Failed, r.state.Passed = false, result.Failed(), total-result.Failed()
	for _, o := range result.Outcomes {
		r.state.Outcomes = append(r.state.Outcomes, collect.Outcome(o))
	}
	switch {
	case err != nil:
		r.progress("ended early: " + err.Error())
	case result.Failed() > 0:
		r.progress(fmt.Sprintf("done: %d of %d checks failed", result.Failed(), total))
	default:
		r.progress(fmt.Sprintf("done: all %d checks hold", total))
	}
}

// Lamps are those of a shop, by name.
func Lamps(s collect.State) (out []Lamp) {
	for name, l := range s.Lamps {
		out = append(out, Lamp{name, l})
	}
	slices.SortFunc(out, func(a, b Lamp) int { return cmp.Compare(a.Name, b.Name) })
	return out
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
		if err := r.steps(ctx, t); err != nil {
			return err
		}
		// The load ends before the last look, or requests on their way would be
		// neither served nor failed, and the table would not add up.
		last := t >= length
		if last && r.settle {
			r.shop.Settle(ctx)
		}
		r.look(t, last)
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
func (r *run) steps(ctx context.Context, t time.Duration) error {
	for ; r.next < len(r.script.Steps) && r.script.Steps[r.next].At <= t; r.next++ {
		step := r.script.Steps[r.next]
		r.progress(step.Text) // before it is done, so that the log tells cause before effect
		if step.Do.Verb == "load" {
			r.shop.SetLoad(step.Do.N, nil)
			continue
		}
		undo, err := r.shop.Do(ctx, step.Do)
		if undo != nil { // also with an error: half of it may be done
			r.undos = append(r.undos, undo)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", step.Line, err)
		}
	}
	return nil
}

// restore takes back what steps have done, the last first: a switch that was set
// twice ends as it was before the first.
func (r *run) restore() {
	for _, undo := range slices.Backward(r.undos) {
		undo()
	}
}

// look takes a sample and shows it to every judge.
func (r *run) look(t time.Duration, last bool) {
	s := &sample{state: r.shop.State(), totals: r.shop.Totals()}
	for _, j := range r.judges {
		j.observe(t, s, last)
	}
}

func (r *run) progress(line string) {
	r.state.Line = line
	r.shop.Progress(r.state)
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
