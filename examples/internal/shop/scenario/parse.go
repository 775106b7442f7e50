// Package scenario reads and runs the scripts that break the shop and say what
// must then be seen. The page, the command line, the README and the tests run
// the same files.
//
//	line   = "load" rps | "at" time action | "expect" path op value [when]     # comment
//	action = "fault" target kind… | "clear" target|"all" | "stop"|"start"|"restart" target | "load" rps
//	kind   = latency=d [jitter=d] | error=p% [status=n] | blackhole[=p%], each with [path=prefix] [for=d]
//	op     = "=" "!=" "<" "<=" ">" ">="
//	value  = number | duration | word
//	when   = "within" d "of" t | "during" a".."b | "at end" (default)
//
// A path leads into the document of GET /state. "within" needs one sample that
// holds, "during" all of them, ten samples a second. The figures of the load,
// load.OPERATION.X, are those of the span alone: what happened between a and b,
// since t, or in the whole run.
//
// A language of its own, and a small one, because the same lines stand in a README
// and are read by people who do not read Go. It has no variables and no loops: a
// scenario that needs them is a test.
package scenario

import (
	"cmp"
	"embed"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
)

//go:embed *.txt
var files embed.FS

// Script is a scenario that has been read.
type Script struct {
	Name    string
	Text    string
	RPS     int // of the load from the start; 0 leaves it as it is
	Steps   []Step
	Expects []Expect
}

// Step is one action at its time.
type Step struct {
	At   time.Duration
	Line int
	Text string
	Do   Action
}

// Action is what a step does. Fault is set for "fault", RPS for "load", Target
// for all others.
type Action struct {
	Verb   string
	Target string
	Fault  fault.Rule
	RPS    int
}

// Names lists the scenarios that come with the shop.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic("scenario: " + err.Error()) // the files are part of the binary
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".txt"))
	}
	return names
}

// Load returns the scenario of that name. A name that ends in .txt is a file: by
// its form alone, so that a file which happens to be called like a scenario does
// not take its place.
func Load(name string) (Script, error) {
	if strings.HasSuffix(name, ".txt") {
		text, err := os.ReadFile(name)
		if err != nil {
			return Script{}, err
		}
		return Parse(name, string(text))
	}
	if !slices.Contains(Names(), name) {
		return Script{}, fmt.Errorf("no scenario %q; there are: %s, or a file NAME.txt", name, strings.Join(Names(), ", "))
	}
	text, err := files.ReadFile(name + ".txt")
	if err != nil {
		return Script{}, err
	}
	return Parse(name, string(text))
}

// Parse reads a script. An error names the line, the word and what is allowed.
func Parse(name, text string) (Script, error) {
	s := Script{Name: name, Text: text}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.parseLine(i+1, strings.Join(words, " "), words); err != nil {
			return Script{}, fmt.Errorf("%s, line %d: %w", name, i+1, err)
		}
	}
	// Stable, so that of two steps at one time the upper one is done first.
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return s, nil
}

// parseLine reads one line. An unknown word is an error and never ignored: an
// expectation that was not understood would pass.
func (s *Script) parseLine(number int, text string, words []string) (err error) {
	switch words[0] {
	case "load":
		s.RPS, err = parseRPS(words[1:])
		return err
	case "at":
		step := Step{Line: number, Text: text}
		if step.At, err = parseTime(words, 1); err != nil {
			return err
		}
		if step.Do, err = parseAction(words[2:]); err != nil {
			return err
		}
		s.Steps = append(s.Steps, step)
		return nil
	case "expect":
		e, err := parseExpect(words[1:])
		if err != nil {
			return err
		}
		e.Line, e.Text = number, text
		s.Expects = append(s.Expects, e)
		return nil
	default:
		return fmt.Errorf("%q: want load, at or expect", words[0])
	}
}

func parseAction(words []string) (a Action, err error) {
	if len(words) == 0 {
		return a, fmt.Errorf("want an action: fault, clear, stop, start, restart or load")
	}
	a.Verb = words[0]
	switch a.Verb {
	case "fault":
		if len(words) < 3 {
			return a, fmt.Errorf("%q: want a target and a kind", a.Verb)
		}
		a.Target = words[1]
		a.Fault, err = fault.Parse(words[1], words[2:])
		return a, err
	case "clear", "stop", "start", "restart": // whether the target exists is known to whoever runs the script
		if len(words) != 2 {
			return a, fmt.Errorf("%q: want one target", a.Verb)
		}
		a.Target = words[1]
		return a, nil
	case "load":
		a.RPS, err = parseRPS(words[1:])
		return a, err
	default:
		return a, fmt.Errorf("%q: want fault, clear, stop, start, restart or load", a.Verb)
	}
}

func parseRPS(words []string) (int, error) {
	if len(words) != 1 {
		return 0, fmt.Errorf("load: want one number of requests per second")
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 1 || n > 2000 {
		return 0, fmt.Errorf("%q: want a number from 1 to 2000", words[0])
	}
	return n, nil
}

// parseTime reads the duration that is word i.
func parseTime(words []string, i int) (time.Duration, error) {
	if i >= len(words) {
		return 0, fmt.Errorf("a time is missing at the end, such as 5s")
	}
	d, err := time.ParseDuration(words[i])
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q: want a time, such as 5s", words[i])
	}
	return d, nil
}

// Length is the time after which everything in the script has happened and can
// be judged.
func (s Script) Length() time.Duration {
	var end time.Duration
	for _, step := range s.Steps {
		end = max(end, step.At+step.Do.Fault.For)
	}
	for _, e := range s.Expects {
		end = max(end, e.to)
	}
	return end
}
