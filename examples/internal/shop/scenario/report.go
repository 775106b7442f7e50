package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// Header is what a report says of the run as a whole: all that it takes to have the
// same run again, so that a failure in somebody's CI is no story but a command.
type Header struct {
	Scenario string `json:"scenario"`
	Preset   string `json:"preset"`
	Seed     uint64 `json:"seed"`
	Sabotage string `json:"sabotage,omitempty"`
	Length   string `json:"length"`
	Repeat   string `json:"repeat"` // the command that does the same again
}

// opRow is one operation of a report; times in ms.
type opRow struct {
	Sent     uint64  `json:"sent"`
	OK       uint64  `json:"ok"`
	Fallback uint64  `json:"fallback"`
	Failed   uint64  `json:"failed"`
	Refused  uint64  `json:"refused"`
	Broken   uint64  `json:"broken"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
}

// row has "failed" as /state has it: all that were not served, whatever the reason.
func row(t load.Totals) opRow {
	ms := func(q float64) float64 { return float64(t.Latency.Quantile(q)) / float64(time.Millisecond) }
	return opRow{t.Sent, t.OK, t.Fallback, t.Unserved(), t.Refused, t.Broken, ms(0.5), ms(0.99)}
}

// WriteText prints the run for people: what the clients saw, then each expectation
// with what was wanted and what was seen, also where both agree, since a check
// that shows no number has to be believed. The last line repeats the run.
func (r Result) WriteText(w io.Writer, h Header) {
	fmt.Fprintf(w, "scenario %s · preset %s · seed %d · %s", h.Scenario, h.Preset, h.Seed, h.Length)
	if h.Sabotage != "" {
		fmt.Fprintf(w, " · sabotage %s", h.Sabotage)
	}
	fmt.Fprintf(w, "\n\n%-10s %7s %7s %8s %7s %7s %7s %9s %9s\n", "operation", "sent", "ok", "fallback", "failed", "refused", "broken", "p50", "p99")
	for _, op := range load.Operations() {
		o := row(r.Totals[op])
		fmt.Fprintf(w, "%-10s %7d %7d %8d %7d %7d %7d %7.1fms %7.1fms\n", op, o.Sent, o.OK, o.Fallback, o.Failed, o.Refused, o.Broken, o.P50, o.P99)
	}
	fmt.Fprintf(w, "\nfallback: served with less, and told so; failed: not served; refused: those told when to come back; broken: those without an answer that the API names\n\n")
	for _, o := range r.Outcomes {
		verdict := "ok  "
		if !o.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "%s  %s\n        wanted %s, got %s at %.1fs\n", verdict, o.Text, o.Wanted, o.Got, o.At)
	}
	for _, l := range r.Lamps {
		verdict := "ok  "
		if l.Status != collect.LampOK {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "%s  lamp %s: %s\n        wanted %s\n        got %s\n", verdict, l.Name, l.Status, l.Equation, l.Detail)
	}
	total := len(r.Outcomes) + len(r.Lamps)
	fmt.Fprintf(w, "\n%d of %d checks hold\nrepeat: %s\n", total-r.Failed(), total, h.Repeat)
}

// WriteJSON prints the run as one JSON object.
func (r Result) WriteJSON(w io.Writer, h Header) error {
	ops := map[string]opRow{}
	for op, t := range r.Totals {
		ops[op] = row(t)
	}
	// The same numbers under the same names as the table, for whoever keeps them.
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Header
		OK           bool             `json:"ok"` // also that it ran to its end
		Operations   map[string]opRow `json:"operations"`
		Expectations []Outcome        `json:"expectations"`
		Lamps        []Lamp           `json:"lamps"`
	}{h, r.Complete && r.Failed() == 0, ops, r.Outcomes, r.Lamps})
}
