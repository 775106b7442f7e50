// Package scenario reads and runs the scripts that break the shop and say what
// must then be seen. The page, the command line, the README and the tests run
// the same files.
//
//	line   = "load" rps [operation=share…] | "needs" setting=value… | "at" time action | "expect" path op value [when]   # comment
//	action = "fault" target kind… | "clear" target|"all" | "kill"|"stop"|"start"|"restart" target | "scale" service n
//	       | "set" switch value | "load" rps | "shards" n | "buy" sku buyers stock | "send" topic body
//	target = service | service-replica | caller">"callee | "broker" | "cache"
//	kind   = latency=d [jitter=d] | error=p% [status=n] | blackhole[=p%] | reset=p% | drop=p% | refuse=p%
//	       | crash=before|effect|answer | down | duplicate=n | reorder=n     each with [calls=a-b] [path=prefix] [for=d]
//	op     = "=" "!=" "<" "<=" ">" ">="
//	value  = number | duration | word | number"x baseline" [+number|+duration]
//	when   = "within" d "of" t | "during" a".."b | "at end" (default)
//
// A path leads into the document of GET /state. "within" needs one sample that
// holds, "during" all of them, ten samples a second. The figures of the load,
// load.OPERATION.X, are those of the span alone: what happened between a and b,
// since t, or in the whole run. A path with a plus in front, +cache.l1.loads, is
// what a total has gained in the span. Baseline is the same figure over the time
// before the first step, without the first second of a run. The end is when the
// load has stopped and sagas have settled.
//
// "needs" names flags without which the script shows nothing, such as
// saga=choreography.
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

	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

//go:embed *.txt
var files embed.FS

// Script is a scenario that has been read.
type Script struct {
	Name    string
	Text    string
	RPS     int               // of the load from the start; 0 leaves it as it is
	Mix     load.Mix          // of the load; nil leaves it as it is
	Needs   map[string]string // settings by flag name; nil is none
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
	return s, s.checkBaselines()
}

// parseLine reads one line. An unknown word is an error and never ignored: an
// expectation that was not understood would pass.
func (s *Script) parseLine(number int, text string, words []string) (err error) {
	switch words[0] {
	case "load":
		return s.parseLoad(words[1:])
	case "needs":
		return s.parseNeeds(words[1:])
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
		return fmt.Errorf("%q: want load, needs, at or expect", words[0])
	}
}

func (s *Script) parseLoad(words []string) (err error) {
	if s.RPS, err = parseRPS(words[:min(1, len(words))]); err != nil || len(words) == 1 {
		return err
	}
	s.Mix, err = load.ParseMix(words[1:])
	return err
}

// settings are what a script may need, and the values that make a difference.
var settings = map[string][]string{
	"saga":  {"orchestration", "choreography"},
	"mode":  {"micro", "monolith"},
	"procs": {"true"},
}

func (s *Script) parseNeeds(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("needs: want settings, such as saga=choreography")
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		if !slices.Contains(settings[name], value) {
			return fmt.Errorf("%q: want saga=orchestration|choreography, mode=micro|monolith or procs=true", word)
		}
		if s.Needs == nil {
			s.Needs = map[string]string{}
		}
		s.Needs[name] = value
	}
	return nil
}

func parseRPS(words []string) (int, error) {
	if len(words) != 1 {
		return 0, fmt.Errorf("load: want one number of requests per second")
	}
	return parseCount(words[0], 1, 2000)
}

// parseCount reads a whole number.
func parseCount(word string, least, most int) (int, error) {
	n, err := strconv.Atoi(word)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q: want a number from %d to %d", word, least, most)
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

// checkBaselines: what is compared with a baseline needs one.
func (s Script) checkBaselines() error {
	for _, e := range s.Expects {
		if e.factor > 0 && (len(s.Steps) == 0 || s.Steps[0].At == 0) {
			return fmt.Errorf("%s, line %d: there is no time before the first step, so no baseline", s.Name, e.Line)
		}
	}
	return nil
}

// baseline is the span that figures are compared with: the time before the first
// step. The first second is left out where that leaves anything, since connections
// are made and caches filled in it.
func (s Script) baseline() (from, to time.Duration) {
	if len(s.Steps) == 0 {
		return 0, 0
	}
	to = s.Steps[0].At
	if to > time.Second {
		from = time.Second
	}
	return from, to
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
