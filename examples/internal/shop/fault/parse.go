package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const allowed = "latency=d [jitter=d], error=p% [status=n], blackhole[=p%], reset=p%, drop=p%, refuse=p%, " +
	"crash=before|effect|answer, down, duplicate=n or reorder=n, each with calls=a-b, path=prefix, for=d"

// maxCopies bounds duplicate and reorder: the front keeps what it holds back.
const maxCopies = 100

// Parse reads a rule from its words, such as "latency=2s", "for=10s". target is a
// service, CALLER>CALLEE, Broker or Cache; whether there is such a service is for
// the caller to know.
func Parse(target string, words []string) (Rule, error) {
	r := Rule{Target: target, Share: 1}
	if caller, callee, ok := strings.Cut(target, ">"); ok {
		r.Caller, r.Target = caller, callee
		if caller == "" || callee == "" {
			return r, fmt.Errorf("%q: want CALLER>CALLEE", target)
		}
	}
	if target == "" || len(words) == 0 {
		return r, fmt.Errorf("a fault needs a target and a kind: %s", allowed)
	}
	for i, word := range words {
		key, value, _ := strings.Cut(word, "=")
		set := r.setOption
		if i == 0 { // the kind comes first, because what may follow depends on it
			set = r.setKind
		}
		if err := set(key, value); err != nil {
			return r, fmt.Errorf("%q: %w", word, err)
		}
	}
	return r, r.checkTarget()
}

// checkTarget: what a kind needs of its target. A fault that cannot act there
// would be listed and do nothing.
func (r Rule) checkTarget() error {
	backplane := r.Target == Broker || r.Target == Cache
	switch {
	case (r.Kind == Duplicate || r.Kind == Reorder) && r.Target != Broker:
		return fmt.Errorf("%s: only the broker delivers; want the target %s", r.Kind, Broker)
	case r.Kind == Crash && backplane:
		return fmt.Errorf("%s: %s lives in control, which does not crash; want down", r.Kind, r.Target)
	}
	return nil
}

func (r *Rule) setKind(key, value string) (err error) {
	r.Kind = Kind(key)
	switch r.Kind {
	case Latency:
		r.Latency, err = duration(value)
	case Error:
		r.Status = 500
		r.Share, err = percent(value)
	case Reset, Drop, Refuse:
		r.Share, err = percent(value)
	case Blackhole:
		if value != "" {
			r.Share, err = percent(value)
		}
	case Crash:
		r.Point = value
		if value != Before && value != Effect && value != Answer {
			err = errors.New("want before, effect or answer")
		}
	case Down:
		if value != "" {
			err = errors.New("down has no value")
		}
	case Duplicate, Reorder:
		r.N, err = strconv.Atoi(value)
		if err != nil || r.N < 2 || r.N > maxCopies {
			err = fmt.Errorf("want a number from 2 to %d", maxCopies)
		}
	default:
		err = fmt.Errorf("want %s", allowed)
	}
	return err
}

func (r *Rule) setOption(key, value string) (err error) {
	switch {
	case key == "jitter" && r.Kind == Latency:
		r.Jitter, err = duration(value)
	case key == "status" && r.Kind == Error:
		r.Status, err = strconv.Atoi(value)
		// Not the rest of 4xx: a made-up 404 would be taken for the truth about a user.
		if err != nil || r.Status != 429 && (r.Status < 500 || r.Status > 599) {
			err = errors.New("want 429, or a status from 500 to 599")
		}
	case key == "for": // read here, and kept by control: a service obeys until it is told otherwise
		r.For, err = duration(value)
	case key == "path":
		r.Path = value
		if !strings.HasPrefix(value, "/") {
			err = errors.New("want a path that begins with /")
		}
	case key == "calls":
		err = r.setCalls(value)
	default:
		err = fmt.Errorf("want %s", allowed)
	}
	return err
}

// setCalls reads a-b, both counted.
func (r *Rule) setCalls(value string) error {
	first, last, ok := strings.Cut(value, "-")
	var err1, err2 error
	r.First, err1 = strconv.ParseUint(first, 10, 32)
	r.Last, err2 = strconv.ParseUint(last, 10, 32)
	if !ok || err1 != nil || err2 != nil || r.First < 1 || r.Last < r.First {
		return errors.New("want the first and the last of the calls that are hit, such as 1-10")
	}
	return nil
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, errors.New("want a positive duration, such as 300ms or 2s")
	}
	return d, nil
}

// percent reads a share. NaN is refused by the form of the comparison: it is
// not above zero.
func percent(text string) (float64, error) {
	digits, ok := strings.CutSuffix(text, "%")
	p, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(p > 0 && p <= 100) {
		return 0, errors.New("want a percentage above 0% and up to 100%")
	}
	return p / 100, nil
}

// String is the rule in the words that Parse reads.
func (r Rule) String() string {
	words := []string{r.kindWord()}
	if r.Jitter > 0 {
		words = append(words, "jitter="+r.Jitter.String())
	}
	if r.Kind == Error && r.Status != 500 {
		words = append(words, "status="+strconv.Itoa(r.Status))
	}
	if r.Path != "" {
		words = append(words, "path="+r.Path)
	}
	if r.Last > 0 {
		words = append(words, fmt.Sprintf("calls=%d-%d", r.First, r.Last))
	}
	if r.For > 0 {
		words = append(words, "for="+r.For.String())
	}
	return strings.Join(words, " ")
}

func (r Rule) kindWord() string {
	share := strconv.FormatFloat(r.Share*100, 'g', 6, 64) + "%"
	switch {
	case r.Kind == Latency:
		return "latency=" + r.Latency.String()
	case r.Kind == Crash:
		return "crash=" + r.Point
	case r.Kind == Duplicate || r.Kind == Reorder:
		return string(r.Kind) + "=" + strconv.Itoa(r.N)
	case r.Kind == Down || r.Kind == Blackhole && r.Share == 1:
		return string(r.Kind)
	default:
		return string(r.Kind) + "=" + share
	}
}
