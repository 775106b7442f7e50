package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expect is one line of what must be seen.
type Expect struct {
	Line   int
	Text   string
	path   string // into the document
	gain   bool   // what the value has gained in the span, not the value
	op     string
	value  string  // as written, for the report
	limit  float64 // the value as a number, a duration in ms
	word   bool    // the value is neither
	factor float64 // of the baseline, to which limit is added; 0 is a plain value
	when   when
	from   time.Duration // of the span in which samples count
	to     time.Duration // 0 with atEnd
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
	e.op, e.value = words[1], words[2]
	e.path, e.gain = strings.CutPrefix(words[0], "+")
	if !slices.Contains(operators, e.op) {
		return e, fmt.Errorf("%q: want one of %s", e.op, strings.Join(operators, " "))
	}
	rest := words[3:]
	if len(rest) > 0 && rest[0] == "baseline" {
		if rest, err = e.parseBaseline(rest[1:]); err != nil {
			return e, err
		}
		return e, e.parseWhen(rest)
	}
	if e.limit, e.word = number(e.value); e.word && (e.gain || e.op != "=" && e.op != "!=") {
		return e, fmt.Errorf("%q: want a number or a duration after %s", e.value, e.op)
	}
	return e, e.parseWhen(rest)
}

// parseBaseline reads 1.2x, and what may follow the word baseline: +5ms. What is
// added is for figures so small that a twentieth of a millisecond is a fifth of
// them.
func (e *Expect) parseBaseline(rest []string) ([]string, error) {
	digits, ok := strings.CutSuffix(e.value, "x")
	factor, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(factor > 0 && factor <= 1000) {
		return nil, fmt.Errorf("%q: want a factor such as 1.2x before baseline", e.value)
	}
	e.factor = factor
	e.value += " baseline"
	if len(rest) > 0 && strings.HasPrefix(rest[0], "+") {
		limit, word := number(rest[0][1:])
		if word || limit < 0 {
			return nil, fmt.Errorf("%q: want a number or a duration behind the plus", rest[0])
		}
		e.limit = limit
		e.value += " " + rest[0]
		rest = rest[1:]
	}
	return rest, nil
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

// overall: the value is one figure of the whole span, and not one of each sample.
// A p99 of a tenth of a second is that of five requests, and says nothing.
func (e *Expect) overall() bool {
	return e.gain || strings.HasPrefix(e.path, "load.") && strings.Count(e.path, ".") == 2
}

// holds compares with what is wanted now. A path that leads nowhere never holds,
// not even with "!=": a typing error in a script must not pass for a result.
func (e *Expect) holds(got any, wanted float64) bool {
	if text, ok := got.(string); ok || e.word {
		equal := ok && text == e.value
		return got != nil && (e.op == "=") == equal && (e.op == "=" || e.op == "!=")
	}
	n, ok := got.(float64)
	if !ok { // nothing at this path, or a whole object: neither is more or less than a number
		return false
	}
	c := cmp.Compare(n, wanted)
	switch e.op {
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
