package scenario

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// Outcome is what became of an expectation.
type Outcome struct {
	OK     bool    `json:"ok"`
	Text   string  `json:"text"`
	Wanted string  `json:"wanted"`
	Got    string  `json:"got"`
	At     float64 `json:"at"` // seconds since the start, of the sample that decided
}

// judge watches one expectation during a run, sample by sample, and keeps two of
// them at most: a run of an hour takes no more memory than one of a second.
type judge struct {
	Expect
	base    *sample // at the start of the span
	calm    baseline
	decided bool
	outcome Outcome
}

// baseline is the figure before anything was done to the shop.
type baseline struct {
	from, to time.Duration
	first    *sample // at from
	sum      float64 // of the values between, for what is no figure of a span
	n        int
	value    float64
	known    bool
}

// newJudge starts with the verdict of an expectation that was never looked at,
// which is a failure: a check that did not run has not passed.
func newJudge(e Expect, s Script) *judge {
	j := &judge{Expect: e, outcome: Outcome{Text: e.Text, Wanted: e.op + " " + e.value, Got: "never looked at"}}
	if e.factor > 0 {
		j.calm.from, j.calm.to = s.baseline()
	}
	return j
}

// observe looks at a sample taken at t. last marks the one at the end.
func (j *judge) observe(t time.Duration, s *sample, last bool) {
	j.observeBaseline(t, s)
	// The sample at the beginning of the span, so that its figures are a difference.
	if j.base == nil && t >= j.from {
		j.base = s
	}
	switch j.when {
	case atEnd: // once, when the load is over and its last request has been counted
		if last {
			j.decide(t, s)
		}
	case within:
		if !j.decided && t >= j.from && t <= j.to {
			j.decide(t, s)
			j.decided = j.outcome.OK // go on looking until it holds
		}
	case during:
		j.observeSpan(t, s)
	}
}

// observeSpan: figures of the whole span are judged once; all others at every
// sample, until one does not hold.
func (j *judge) observeSpan(t time.Duration, s *sample) {
	overall := j.overall()
	switch {
	case j.decided || t < j.from:
	case overall && t >= j.to: // the first sample that has the whole span behind it
		j.decide(t, s)
		j.decided = true
	case !overall && t <= j.to:
		j.decide(t, s)
		j.decided = !j.outcome.OK // the report shows the moment in which it broke, not the last one
	}
}

// observeBaseline gathers what the expectation is compared with: a figure of the
// load over the calm time as a whole, else the mean of the samples.
func (j *judge) observeBaseline(t time.Duration, s *sample) {
	b := &j.calm
	if j.factor == 0 || b.known || t < b.from {
		return
	}
	if b.first == nil {
		b.first = s
	}
	if n, ok := s.look(j.path, nil, false).(float64); ok {
		b.sum += n
		b.n++
	}
	if t < b.to {
		return
	}
	switch v := s.look(j.path, b.first, j.gain).(type) {
	case float64:
		b.value, b.known = v, true
		if !j.overall() && b.n > 0 {
			b.value = b.sum / float64(b.n)
		}
	default: // nothing there: b stays unknown, and what is compared with it does not hold
	}
}

// decide looks at the path and takes the sample's verdict. It may be called again,
// and the last call counts.
func (j *judge) decide(t time.Duration, s *sample) {
	got, wanted := s.look(j.path, j.base, j.gain), j.limit
	j.outcome.Got, j.outcome.At = show(got), t.Seconds()
	if j.factor > 0 {
		wanted += j.factor * j.calm.value
		j.outcome.Wanted = fmt.Sprintf("%s %s (%s)", j.op, j.value, show(wanted))
		if !j.calm.known {
			j.outcome.OK, j.outcome.Got = false, "no baseline to compare "+j.outcome.Got+" with"
			return
		}
	}
	j.outcome.OK = j.holds(got, wanted)
}

// sample is the shop at one moment.
type sample struct {
	state  any // a copy, that nobody changes
	doc    map[string]any
	totals map[string]load.Totals
}

// document is the state in the form in which clients get it, as JSON: what a script can
// name is what GET /state shows, no more and no less. It is made when somebody looks,
// which is seldom: most expectations are about a short span.
func (s *sample) document() map[string]any {
	if s.doc != nil {
		return s.doc
	}
	s.doc = map[string]any{}
	raw, err := json.Marshal(s.state)
	if err == nil {
		err = json.Unmarshal(raw, &s.doc)
	}
	if err != nil {
		s.doc["error"] = err.Error() // no path leads anywhere, and nothing holds
	}
	return s.doc
}

// look returns the value at path, a number or a string, nil if there is none.
// The figures of an operation of the load are those since base, as is the gain of
// any number.
func (s *sample) look(path string, base *sample, gain bool) any {
	// Figures of an operation come from the totals: those in the document are of the
	// last ten seconds, which is no span that a script has named.
	words := strings.Split(path, ".")
	if t, ok := s.totals[words[min(1, len(words)-1)]]; ok && len(words) == 3 && words[0] == "load" {
		var before load.Totals
		if base != nil {
			before = base.totals[words[1]]
		}
		return figure(t, before, words[2])
	}
	v := s.at(words)
	if !gain || base == nil {
		return v
	}
	now, ok := v.(float64)
	if !ok {
		return nil
	}
	// What was not there at the beginning has begun since, at zero.
	before, _ := base.at(words).(float64)
	return now - before
}

// at follows words into the document.
func (s *sample) at(words []string) any {
	var v any = s.document()
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
	case "fallback":
		return float64(c.Fallback)
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
