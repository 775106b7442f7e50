package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// Expect is one line of what must be seen.
type Expect struct {
	Line  int
	Text  string
	path  string // into the document
	op    string
	value string  // as written, for the report
	limit float64 // the value as a number, a duration in ms
	word  bool    // the value is neither
	when  when
	from  time.Duration // of the span in which samples count
	to    time.Duration // 0 with atEnd
}

// when says which samples count.
type when int

const (
	atEnd when = iota
	within
	during
)

// operators as they are written. There is no "about": how far off a value may be
// is for the author of a scenario to say.
var operators = []string{"=", "!=", "<", "<=", ">", ">="}

// parseExpect reads what follows the word expect.
func parseExpect(words []string) (e Expect, err error) {
	if len(words) < 3 {
		return e, fmt.Errorf("expect: want a path, an operator and a value")
	}
	e.path, e.op, e.value = words[0], words[1], words[2]
	if !slices.Contains(operators, e.op) {
		return e, fmt.Errorf("%q: want one of %s", e.op, strings.Join(operators, " "))
	}
	if e.limit, e.word = number(e.value); e.word && e.op != "=" && e.op != "!=" {
		return e, fmt.Errorf("%q: want a number or a duration after %s", e.value, e.op)
	}
	return e, e.parseWhen(words[3:])
}

// number reads a number, or a duration as its milliseconds, the unit of all
// times in the document. Anything else is a word.
func number(text string) (n float64, word bool) {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n, false
	}
	if d, err := time.ParseDuration(text); err == nil {
		return float64(d) / float64(time.Millisecond), false
	}
	return 0, true
}

// parseWhen reads from when to when samples count. The words are kept to three
// forms that read as a sentence and have one meaning each.
func (e *Expect) parseWhen(words []string) (err error) {
	switch {
	case len(words) == 0 || slices.Equal(words, []string{"at", "end"}):
		return nil
	case len(words) == 4 && words[0] == "within" && words[2] == "of":
		e.when = within
		if e.from, err = parseTime(words, 3); err != nil {
			return err
		}
		e.to, err = parseTime(words, 1) // a length so far
		e.to += e.from
		return err
	case len(words) == 2 && words[0] == "during":
		e.when = during
		from, to, ok := strings.Cut(words[1], "..")
		if !ok {
			return fmt.Errorf("%q: want a span, such as 5s..11s", words[1])
		}
		if e.from, err = parseTime([]string{from}, 0); err != nil {
			return err
		}
		if e.to, err = parseTime([]string{to}, 0); err == nil && e.to <= e.from {
			err = fmt.Errorf("%q: the span is empty", words[1])
		}
		return err
	default:
		return fmt.Errorf("%q: want within D of T, during A..B or at end", strings.Join(words, " "))
	}
}

// Outcome is what became of an expectation.
type Outcome struct {
	OK     bool    `json:"ok"`
	Text   string  `json:"text"`
	Wanted string  `json:"wanted"`
	Got    string  `json:"got"`
	At     float64 `json:"at"` // seconds since the start, of the sample that decided
}

// judge watches one expectation during a run, sample by sample, and keeps none:
// a run of an hour takes no more memory than one of a second.
type judge struct {
	Expect
	base    map[string]load.Totals // at the start of the span
	decided bool
	outcome Outcome
}

// newJudge starts with the verdict of an expectation that was never looked at,
// which is a failure: a check that did not run has not passed.
func newJudge(e Expect) *judge {
	return &judge{Expect: e, outcome: Outcome{Text: e.Text, Wanted: e.op + " " + e.value, Got: "never looked at"}}
}

// observe looks at a sample taken at t. last marks the one at the end.
func (j *judge) observe(t time.Duration, sample *sample, last bool) {
	// The totals at the beginning of the span, so that its figures are a difference.
	if j.base == nil && t >= j.from {
		j.base = sample.totals
	}
	switch j.when {
	case atEnd: // once, when the load is over and its last request has been counted
		if last {
			j.decide(t, sample)
		}
	case within:
		if !j.decided && t >= j.from && t <= j.to {
			j.decide(t, sample)
			j.decided = j.outcome.OK // go on looking until it holds
		}
	case during:
		j.observeSpan(t, sample)
	}
}

// observeSpan: figures of the load are judged once, over the whole span; all
// others at every sample, until one does not hold.
func (j *judge) observeSpan(t time.Duration, sample *sample) {
	// A p99 of a tenth of a second is that of five requests, and says nothing; a
	// state that held nine times of ten did not hold.
	overall := strings.HasPrefix(j.path, "load.") && strings.Count(j.path, ".") == 2
	switch {
	case j.decided || t < j.from:
	case overall && t >= j.to: // the first sample that has the whole span behind it
		j.decide(t, sample)
		j.decided = true
	case !overall && t <= j.to:
		j.decide(t, sample)
		j.decided = !j.outcome.OK // the report shows the moment in which it broke, not the last one
	}
}

// decide looks at the path and takes the sample's verdict. It may be called again,
// and the last call counts.
func (j *judge) decide(t time.Duration, s *sample) {
	got := s.look(j.path, j.base)
	j.outcome.Got, j.outcome.At = show(got), t.Seconds()
	j.outcome.OK = j.holds(got)
}

// holds compares. A path that leads nowhere never holds, not even with "!=": a
// typing error in a script must not pass for a result.
func (j *judge) holds(got any) bool {
	if text, ok := got.(string); ok || j.word {
		equal := ok && text == j.value
		return got != nil && (j.op == "=") == equal && (j.op == "=" || j.op == "!=")
	}
	n, ok := got.(float64)
	if !ok { // nothing at this path, or a whole object: neither is more or less than a number
		return false
	}
	c := cmp.Compare(n, j.limit)
	switch j.op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

// show is a value as the report prints it.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing at this path"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}
