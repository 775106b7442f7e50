package sagatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/saga"
)

// Subject is a saga to explore, and the world around it.
type Subject[S any] struct {
	// Define returns the definition for one simulated process; it registers the
	// children of a [saga.Sub] itself. What the steps work on outlives crashes: it
	// belongs to the caller of Explore's build.
	Define func(c *saga.Coordinator) (saga.Definition[S], error)

	// Input is what the saga starts with.
	Input S

	// OnWait plays the outside world: it is called once each time the saga has come
	// to wait, and may signal or cancel. Nil: only time passes.
	OnWait func(ctx context.Context, c *saga.Coordinator, s saga.Summary)

	// Check is the caller's invariant, for instance a ledger that balances. Nil:
	// what Explore checks by itself.
	Check func(e End[S]) error

	// Faults is how many happen per schedule. Zero means 1, each fault at each
	// point; 2 is all pairs of them.
	Faults int

	// Limit is the number of schedules that may be needed; more fails the test.
	// Zero means 20,000.
	Limit int

	// Replay runs only this schedule, as a failure printed it.
	Replay string
}

// End is how a schedule ended.
type End[S any] struct {
	State    saga.State
	Value    S
	Err      error // of Wait
	History  []saga.Record
	Calls    []saga.Call // in the order in which they began, also those of processes that crashed
	Schedule string      // as for Subject.Replay
}

// Explore runs a saga on a memory store, once without a fault, and then once for
// each fault at each point: processes crash before and after every call and every
// commit, replies of commits are lost, calls fail before and after their effect,
// are refused, hang, go deaf to their context, panic, or belong to a process that
// others take for dead. Each schedule has a bubble of [synctest.Test] and a call of
// build of its own, so that waits cost no time.
//
// Explore checks by itself that the steps ran in order, to the end or to the turn;
// that everything done or unknown, and nothing else, was then undone in the
// reversed order, with no Do beside it; that nothing happened after the end; and
// that the saga ended or is Stuck. A failure prints the first schedule with the
// fewest faults.
//
// Steps should be quick: a step that sleeps goes on for a moment in a process that
// has crashed, as a request on its way would.
func Explore[S any](t *testing.T, build func(t *testing.T) Subject[S]) {
	t.Helper()
	todo := []schedule{nil}
	for n := 1; len(todo) > 0; n++ {
		next := todo[0]
		todo = todo[1:]
		x, err := runOnce(t, build, next)
		if x == nil || t.Failed() {
			return // build has failed
		}
		if x.subject.Replay != "" && n == 1 {
			if next, err = parseSchedule(x.subject.Replay); err == nil {
				x, err = runOnce(t, build, next)
			}
			todo = nil
		}
		if err != nil {
			t.Fatalf("schedule %d: %v\nReplay: %q\n%s", n, err, next.String(), x.story())
		}
		faults, limit := max(x.subject.Faults, 1), x.subject.Limit
		if limit == 0 {
			limit = 20_000
		}
		if x.subject.Replay == "" && len(next) < faults {
			todo = append(todo, x.extensions(next)...)
		}
		if n+len(todo) > limit {
			t.Fatalf("more than %d schedules are needed: raise Subject.Limit, or lower Faults", limit)
		}
	}
}

// runOnce runs one schedule in a bubble; nil if the build failed.
func runOnce[S any](t *testing.T, build func(t *testing.T) Subject[S], plan schedule) (x *explorer[S], err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		subject := build(t)
		x = newExplorer(subject, plan)
		err = x.run(t)
	})
	return x, err
}

// fault happens at a point.
type fault struct{ what, point string }

// schedule is the faults of one run.
type schedule []fault

// String is "what@point", joined by "; ".
func (s schedule) String() string {
	words := make([]string, 0, len(s))
	for _, f := range s {
		words = append(words, f.what+"@"+f.point)
	}
	return strings.Join(words, "; ")
}

func parseSchedule(text string) (s schedule, err error) {
	for word := range strings.SplitSeq(text, "; ") {
		what, point, ok := strings.Cut(word, "@")
		if !ok {
			return nil, fmt.Errorf("sagatest: Replay is %q: want fault@point, joined by \"; \"", text)
		}
		s = append(s, fault{what, point})
	}
	return s, nil
}

// point is where a fault may happen. Points have names, so that a schedule means
// the same in each run, however goroutines interleave.
type point struct {
	name   string
	faults []string
}

// The faults.
const (
	crashBefore = "crash-before"
	crashAfter  = "crash-after"
	lostReply   = "lost-reply"
	failBefore  = "error-before"
	failAfter   = "error-after"
	refuse      = "refuse"
	hang        = "hang"
	deaf        = "deaf"
	panics      = "panic"
	stale       = "stale"
)

var (
	atCommit = []string{crashBefore, crashAfter, lostReply, failBefore}
	atUndo   = []string{crashBefore, crashAfter, failBefore, failAfter, panics, stale, hang}
	atDo     = append(slices.Clone(atUndo), refuse, deaf)
)

// extensions are the schedules with one more fault behind the last.
func (x *explorer[S]) extensions(s schedule) (more []schedule) {
	from := 0
	if len(s) > 0 {
		last := s[len(s)-1].point
		from = slices.IndexFunc(x.points, func(p point) bool { return p.name == last }) + 1
		if from == 0 {
			return nil // the schedule never came there
		}
	}
	for _, p := range x.points[from:] {
		for _, what := range p.faults {
			more = append(more, append(slices.Clone(s), fault{what, p.name}))
		}
	}
	return more
}

var (
	errInjected = errors.New("sagatest: injected")
	errCut      = errors.New("sagatest: the store does not answer")
	errLost     = errors.New("sagatest: the reply of the commit is lost")
)

// deadError is what a crashed process gets from its store.
type deadError struct{}

func (deadError) Error() string   { return "sagatest: the process has crashed" }
func (deadError) Retryable() bool { return false }
