package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var updateTraps = flag.Bool("update-traps", false, "write results/breaker-traps.md")

// subject is a breaker that opens after three failures in a row, for one
// second, and then lets one probe decide. Every peer is set up to do that.
type subject struct {
	// run calls fn through the breaker, in the way that its users do.
	run func(ctx context.Context, fn func() error) error
	// allow asks for a permit; done settles it. Nil if the library, or this
	// subject of it, can only run calls.
	allow func() (done func(error), ok bool)
	// state returns "closed", "half-open" or "open".
	state func() string
}

func (s subject) fail()    { _ = s.run(context.Background(), func() error { return errDown }) }
func (s subject) succeed() { _ = s.run(context.Background(), func() error { return nil }) }

// open opens the breaker and lets its open time pass.
func (s subject) open() {
	for range 3 {
		s.fail()
	}
	if s.state() != "open" {
		panic("did not open but is " + s.state())
	}
	time.Sleep(1200 * time.Millisecond) // with keelson's jitter
}

// recovers reports whether the breaker closes again, given every chance.
func (s subject) recovers() bool {
	for range 100 {
		time.Sleep(5 * time.Second)
		s.succeed()
	}
	return s.state() == "closed"
}

// runs counts how many of n calls that hang at once are let in.
func (s subject) runs(n int) (admitted int) {
	release := make(chan struct{})
	for range n {
		go func() {
			_ = s.run(context.Background(), func() error {
				admitted++ // one goroutine at a time in a bubble that waits
				<-release
				return nil
			})
		}()
		synctest.Wait()
	}
	close(release)
	synctest.Wait()
	return admitted
}

// trap is a case that has bitten users of breakers. It reports whether the
// promise holds; na says that the subject has no way to get into the case.
type trap struct {
	name  string
	holds func(name string) (holds, na bool)
}

var traps = []trap{
	{"a Goexit in a probe does not wedge it (T1)", func(name string) (bool, bool) {
		s := single(name)
		s.open()
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			_ = s.run(context.Background(), func() error { runtime.Goexit(); return nil })
		}()
		<-exited
		return s.recovers(), false
	}},
	{"a panic in a probe does not wedge it (T2)", func(name string) (bool, bool) {
		s := single(name)
		s.open()
		func() {
			defer func() { _ = recover() }()
			_ = s.run(context.Background(), func() error { panic("probe") })
		}()
		return s.recovers(), false
	}},
	{"a panic keeps its stack (T2)", func(name string) (kept, na bool) {
		s := single(name)
		defer func() {
			_ = recover()
			kept = strings.Contains(string(debug.Stack()), "panicHere")
		}()
		_ = s.run(context.Background(), panicHere)
		return false, false
	}},
	{"a probe that is never settled does not wedge it (T3)", func(name string) (bool, bool) {
		s := twoStep(name)
		if s.allow == nil {
			return false, true
		}
		s.open()
		_, ok := s.allow()
		return ok && s.recovers(), false
	}},
	{"a permit settled twice counts once (T4)", func(name string) (bool, bool) {
		s := twoStep(name)
		if s.allow == nil {
			return false, true
		}
		done, _ := s.allow()
		for range 3 {
			done(errDown)
		}
		return s.state() == "closed", false
	}},
	{"a success from before the failure does not close it (T5)", func(name string) (bool, bool) {
		s := twoStep(name)
		if s.allow == nil {
			return false, true
		}
		stale, _ := s.allow()
		s.open()
		_, ok := s.allow() // the probe: half-open now
		stale(nil)
		return ok && s.state() == "half-open", false
	}},
	{"a result from before the failure frees no probe (T5)", func(name string) (bool, bool) {
		s := twoStep(name)
		if s.allow == nil {
			return false, true
		}
		stale, _ := s.allow()
		s.open()
		_, first := s.allow()
		stale(nil)
		_, second := s.allow()
		return first && !second, false
	}},
	{"of a crowd only the probe runs (T8)", func(name string) (bool, bool) {
		s := single(name)
		s.open()
		return s.runs(100) == 1, false
	}},
	{"a refusal further in does not open it (T17)", func(name string) (bool, bool) {
		s := single(name)
		for range 10 {
			_ = s.run(context.Background(), func() error {
				inner := single(name)
				for range 3 {
					inner.fail()
				}
				return inner.run(context.Background(), func() error { return nil })
			})
		}
		return s.state() == "closed", false
	}},
	{"callers who leave do not open it (T21)", func(name string) (bool, bool) {
		s := single(name)
		for range 10 {
			ctx, cancel := context.WithCancel(context.Background())
			_ = s.run(ctx, func() error {
				cancel()
				return ctx.Err()
			})
		}
		return s.state() == "closed", false
	}},
}

func panicHere() error { panic("here") }

func TestTraps(t *testing.T) {
	names := []string{"keelson", "gobreaker v2.4.0", "failsafe-go v0.9.8", "go-resiliency v1.7.0"}
	var table strings.Builder
	fmt.Fprintf(&table, "| trap | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, trap := range append(traps, ownTraps()...) {
		fmt.Fprintf(&table, "| %s |", trap.name)
		for _, name := range names {
			cell := outcome(t, trap, name)
			if name == "keelson" {
				assert.Equal(t, "holds", cell, trap.name)
			}
			fmt.Fprintf(&table, " %s |", cell)
		}
		fmt.Fprintln(&table)
	}
	t.Log("\n" + table.String())
	const file = "results/breaker-traps.md"
	if *updateTraps {
		require.NoError(t, os.WriteFile(file, []byte(trapsHeader+table.String()), 0o600))
	}
	committed, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(committed), trapsHeader+table.String(), "go test -run Traps -update-traps writes it")
}

const trapsHeader = `# Peer x trap

Each breaker opens after three failures in a row, for one second, and one probe
decides. Every cell is the outcome of the same test, which runs again with each
"go test" (TestTraps): *holds*, *fails*, or *n.a.* where the library has no way
to get into the case. T numbers are those of the tests of package breaker.
Settings are the defaults otherwise: which errors do not count, as in T17 and
T21, can be told to gobreaker (IsExcluded) and to failsafe-go (HandleErrors).

`

func outcome(t *testing.T, trap trap, name string) (cell string) {
	check := func(*testing.T) {
		switch holds, na := trap.holds(name); {
		case na:
			cell = "n.a."
		case holds:
			cell = "holds"
		default:
			cell = "fails"
		}
	}
	if strings.Contains(trap.name, "callback") { // a lock that is never freed cannot be in a bubble
		check(t)
		return cell
	}
	synctest.Test(t, func(t *testing.T) {
		check(t)
		time.Sleep(time.Hour) // goroutines of some breakers sleep
	})
	return cell
}
