// Package fault breaks a service on purpose. A Rule says what goes wrong, in the
// words of the scenario files; a Set applies the rules of one service to its
// requests. The same seed and rules give the same faults under any interleaving:
// whether the n-th request that meets a rule is hit depends on the seed, the
// rule's id and n alone, never on one source of draws that requests share.
//
// Faults act in the server, behind a real connection. A fault in the client would
// test the client's idea of a fault: no connection would stay open, no goroutine
// of the server would be held, and nobody would notice that they are not let go.
package fault

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind is what a rule does to a request.
type Kind string

// The kinds that exist.
const (
	Latency   Kind = "latency"   // wait, then go on
	Error     Kind = "error"     // answer at once with Status
	Blackhole Kind = "blackhole" // never answer
)

// Rule is one fault. The zero Share hits nothing; Parse sets it.
type Rule struct {
	ID      string        `json:"id"`
	Target  string        `json:"target"` // a service
	Kind    Kind          `json:"kind"`
	Share   float64       `json:"share"`             // of requests that are hit, in (0, 1]
	Latency time.Duration `json:"latency,omitempty"` // ns
	Jitter  time.Duration `json:"jitter,omitempty"`  // up to so much is added, ns
	Status  int           `json:"status,omitempty"`
	Path    string        `json:"path,omitempty"` // prefix; empty is every path
	For     time.Duration `json:"for,omitempty"`  // then control clears it; zero is until cleared, ns
}

const allowed = "latency=d [jitter=d], error=p% [status=n] or blackhole[=p%], each with path=prefix, for=d"

// Parse reads a rule for target from words such as "latency=2s", "for=10s".
func Parse(target string, words []string) (Rule, error) {
	r := Rule{Target: target, Share: 1}
	if target == "" || len(words) == 0 {
		return r, fmt.Errorf("a fault needs a target and a kind: %s", allowed)
	}
	for i, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if err := r.set(i == 0, key, value); err != nil {
			return r, fmt.Errorf("%q: %w", word, err)
		}
	}
	return r, nil
}

// set reads one word. The kind comes first, because what may follow depends on
// it: a status belongs to an error, a jitter to a latency.
func (r *Rule) set(first bool, key, value string) (err error) {
	switch {
	case first && key == string(Latency):
		r.Kind = Latency
		r.Latency, err = duration(value)
	case first && key == string(Error):
		r.Kind, r.Status = Error, 500
		r.Share, err = percent(value)
	case first && key == string(Blackhole):
		r.Kind = Blackhole
		if value != "" {
			r.Share, err = percent(value)
		}
	case !first && key == "jitter" && r.Kind == Latency:
		r.Jitter, err = duration(value)
	case !first && key == "status" && r.Kind == Error:
		r.Status, err = strconv.Atoi(value)
		// Not the rest of 4xx: a made-up 404 would be taken for the truth about a user.
		if err != nil || r.Status != 429 && (r.Status < 500 || r.Status > 599) {
			err = fmt.Errorf("want 429, or a status from 500 to 599")
		}
	case !first && key == "for": // read here, and kept by control: a service obeys until it is told otherwise
		r.For, err = duration(value)
	case !first && key == "path":
		r.Path = value
		if !strings.HasPrefix(value, "/") {
			err = fmt.Errorf("want a path that begins with /")
		}
	default:
		err = fmt.Errorf("want %s", allowed)
	}
	return err
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("want a positive duration, such as 300ms or 2s")
	}
	return d, nil
}

// percent reads a share. NaN is refused by the form of the comparison: it is
// not above zero.
func percent(text string) (float64, error) {
	digits, ok := strings.CutSuffix(text, "%")
	p, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(p > 0 && p <= 100) {
		return 0, fmt.Errorf("want a percentage above 0%% and up to 100%%")
	}
	return p / 100, nil
}

// String is the rule in the words that Parse reads.
func (r Rule) String() string {
	share := strconv.FormatFloat(r.Share*100, 'g', 6, 64) + "%"
	words := []string{string(r.Kind)}
	switch {
	case r.Kind == Latency:
		words[0] += "=" + r.Latency.String()
	case r.Kind == Error || r.Share < 1:
		words[0] += "=" + share
	}
	if r.Jitter > 0 {
		words = append(words, "jitter="+r.Jitter.String())
	}
	if r.Kind == Error && r.Status != 500 {
		words = append(words, "status="+strconv.Itoa(r.Status))
	}
	if r.Path != "" {
		words = append(words, "path="+r.Path)
	}
	if r.For > 0 {
		words = append(words, "for="+r.For.String())
	}
	return strings.Join(words, " ")
}
