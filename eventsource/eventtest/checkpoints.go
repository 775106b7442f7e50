package eventtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
)

var checkpointTests = []struct {
	name string
	test func(c checkpoints)
}{
	{"an absent checkpoint is the zero one", absent},
	{"a checkpoint comes back as it was saved", saved},
	{"names are any text", names},
	{"position and epoch of old must be those of the record", fenced},
	{"a zero old creates and a zero new deletes", createDelete},
	{"apply runs first and its error stops the save", applyFirst},
	{"a panic in apply saves nothing and leaves nothing locked", applyPanics},
	{"saved and loaded data is the caller's", checkpointAlias},
	{"invalid saves are refused", invalidSaves},
	{"of ten saves of the same old one wins", raceSaves},
	{"no increment is lost", noLostIncrement},
	{"ended contexts are not ignored", endedSaves},
}

// TestCheckpoints runs the suite of checkpoints. open returns a store that is
// empty and shares nothing with the others; clean-up is up to t.Cleanup.
func TestCheckpoints(t *testing.T, open func(t *testing.T) eventsource.Checkpoints) {
	t.Helper()
	for _, c := range checkpointTests {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c.test(checkpoints{t, open(t), ctx})
		})
	}
}

// checkpoints are Checkpoints under test.
type checkpoints struct {
	*testing.T
	eventsource.Checkpoints
	ctx context.Context
}

func (c checkpoints) load(name string) eventsource.Checkpoint {
	c.Helper()
	got, err := c.LoadCheckpoint(c.ctx, name)
	if err != nil {
		c.Fatalf("LoadCheckpoint of %.100q: %v", name, err)
	}
	return got
}

func (c checkpoints) holds(name string, want eventsource.Checkpoint) {
	c.Helper()
	if got := c.load(name); !sameCheckpoint(got, want) {
		c.Fatalf("checkpoint %.100q is %.200s, want %.200s", name, text(got), text(want))
	}
}

func sameCheckpoint(a, b eventsource.Checkpoint) bool {
	return a.Position == b.Position && a.Epoch == b.Epoch && string(a.Data) == string(b.Data)
}

func (c checkpoints) save(name string, old, new eventsource.Checkpoint) {
	c.Helper()
	if err := c.SaveCheckpoint(c.ctx, name, old, new, nil); err != nil {
		c.Fatalf("SaveCheckpoint of %.100q from %.100s to %.100s: %v", name, text(old), text(new), err)
	}
	c.holds(name, new)
}

// refuse saves what must fail and change nothing.
func (c checkpoints) refuse(target error, name string, old, new eventsource.Checkpoint) {
	c.Helper()
	before := c.load(name)
	if err := c.SaveCheckpoint(c.ctx, name, old, new, nil); !is(err, target) {
		c.Fatalf("SaveCheckpoint of %.100q from %.100s to %.100s is %v, want %v", name, text(old), text(new), err, target)
	}
	c.holds(name, before)
}

// at is a checkpoint.
func at(p eventsource.Position, epoch uint64, data string) eventsource.Checkpoint {
	return eventsource.Checkpoint{Position: p, Epoch: epoch, Data: []byte(data)}
}

func absent(c checkpoints) {
	for _, name := range []string{"a", "track/a", "projection/a@1/0"} {
		c.holds(name, eventsource.Checkpoint{})
	}
}

func saved(c checkpoints) {
	var old eventsource.Checkpoint
	for _, new := range []eventsource.Checkpoint{
		at(1, 1, ""), at(2, 1, "data"), at(2, 1, "other"), at(0, 7, "x"), at(1<<62, 1<<62, string(everyByte())), at(5, 0, ""),
		at(0, 0, "data alone"), at(0, 0, "\x00"), at(1, 0, strings.Repeat("large ", 1<<17)),
	} {
		c.save("a", old, new)
		old = new
	}
	c.holds("b", eventsource.Checkpoint{})
}

func names(c checkpoints) {
	all := append([]string{"a", "A", "a ", "a/b", "a@1", filled(1024), "snapshot/v1/" + filled(255), "tracks/a", "Track/a"}, nasty...)
	for i, name := range all {
		c.save(name, eventsource.Checkpoint{}, at(eventsource.Position(i+1), 1, name))
	}
	for i, name := range all {
		c.holds(name, at(eventsource.Position(i+1), 1, name))
	}
}

func fenced(c checkpoints) {
	c.save("a", eventsource.Checkpoint{}, at(5, 2, "data"))
	for _, old := range []eventsource.Checkpoint{{}, at(4, 2, "data"), at(6, 2, "data"), at(5, 1, "data"), at(5, 3, "data"), at(0, 0, "data"), at(2, 5, "")} {
		c.refuse(eventsource.ErrFenced, "a", old, at(9, 9, ""))
		c.refuse(eventsource.ErrFenced, "a", old, eventsource.Checkpoint{})
	}
	c.refuse(eventsource.ErrFenced, "absent", at(1, 1, ""), at(2, 1, ""))
	c.refuse(eventsource.ErrFenced, "absent", at(0, 0, "data"), at(2, 1, ""))
	c.refuse(eventsource.ErrFenced, "absent", at(1, 1, ""), eventsource.Checkpoint{})
	c.save("a", at(5, 2, "data is not compared"), at(5, 3, ""))
	c.save("a", at(5, 3, ""), at(4, 3, "")) // backwards, if its owner says so
}

func createDelete(c checkpoints) {
	for range 2 {
		c.save("a", eventsource.Checkpoint{}, eventsource.Checkpoint{}) // absent, and stays so
		c.save("a", eventsource.Checkpoint{}, at(0, 0, "data alone"))
		c.refuse(eventsource.ErrFenced, "a", eventsource.Checkpoint{}, at(1, 1, ""))
		c.save("a", at(0, 0, "some"), at(1, 1, ""))
		c.save("a", at(1, 1, ""), eventsource.Checkpoint{})
		c.refuse(eventsource.ErrFenced, "a", at(1, 1, ""), at(2, 1, ""))
	}
}

type key struct{}

func applyFirst(c checkpoints) {
	failure := errors.New("eventtest: apply failed")
	apply := func(err error) func(context.Context) error {
		return func(ctx context.Context) error {
			if ctx.Value(key{}) != "value" {
				c.Errorf("apply does not get the caller's context")
			}
			return err
		}
	}
	ctx := context.WithValue(c.ctx, key{}, "value")
	if err := c.SaveCheckpoint(ctx, "a", eventsource.Checkpoint{}, at(1, 1, ""), apply(failure)); err != failure { //nolint:errorlint // it comes back as it is
		c.Fatalf("SaveCheckpoint is %v, want apply's error as it is", err)
	}
	c.holds("a", eventsource.Checkpoint{})
	if err := c.SaveCheckpoint(ctx, "a", eventsource.Checkpoint{}, at(1, 1, ""), apply(nil)); err != nil {
		c.Fatalf("SaveCheckpoint is %v", err)
	}
	c.holds("a", at(1, 1, ""))
}

// T25: a lock that stayed would show in the save that follows.
func applyPanics(c checkpoints) {
	leave := func(want any, how func()) {
		c.Helper()
		done := make(chan any)
		go func() {
			defer func() { done <- recover() }()
			_ = c.SaveCheckpoint(c.ctx, "a", eventsource.Checkpoint{}, at(1, 1, ""), func(context.Context) error {
				how()
				return nil
			})
		}()
		if v := <-done; v != want {
			c.Fatalf("the panic comes back as %v, want %v", v, want)
		}
		c.holds("a", eventsource.Checkpoint{})
	}
	leave("eventtest: panic", func() { panic("eventtest: panic") })
	leave(nil, runtime.Goexit)
	c.save("a", eventsource.Checkpoint{}, at(1, 1, ""))
}

func checkpointAlias(c checkpoints) {
	data := []byte("data")
	if err := c.SaveCheckpoint(c.ctx, "a", eventsource.Checkpoint{}, eventsource.Checkpoint{Epoch: 1, Data: data}, nil); err != nil {
		c.Fatalf("SaveCheckpoint: %v", err)
	}
	data[0] = 'X'
	for range 2 {
		got := c.load("a")
		if string(got.Data) != "data" {
			c.Fatalf("the stored data has become %q", got.Data)
		}
		got.Data[0] = 'X'
	}
}

func invalidSaves(c checkpoints) {
	for _, name := range append(badTexts[1:], "", filled(1025), "track/", "track/a") {
		if err := c.SaveCheckpoint(c.ctx, name, eventsource.Checkpoint{}, at(1, 1, ""), func(context.Context) error {
			c.Errorf("apply runs for the name %.100q", name)
			return nil
		}); !is(err, eventsource.ErrInvalid) {
			c.Fatalf("SaveCheckpoint of %.100q is %v, want ErrInvalid", name, err)
		}
	}
	c.refuse(eventsource.ErrInvalid, "a", eventsource.Checkpoint{}, eventsource.Checkpoint{Data: make([]byte, 16<<20+1)})
}

func raceSaves(c checkpoints) {
	var old eventsource.Checkpoint
	for round := range rounds {
		attempts := race(racers, func(i int) (eventsource.Result, error) {
			return eventsource.Result{}, c.SaveCheckpoint(c.ctx, "a", old, at(eventsource.Position(round+1), uint64(i), fmt.Sprint(i)), nil)
		})
		winner := -1
		for i, a := range attempts {
			if a.err == nil && winner < 0 {
				winner = i
			} else if !is(a.err, eventsource.ErrFenced) {
				c.Fatalf("round %d: save %d is %v beside the winner %d, want ErrFenced", round, i, a.err, winner)
			}
		}
		old = at(eventsource.Position(round+1), uint64(max(0, winner)), fmt.Sprint(winner))
		c.holds("a", old)
	}
}

func noLostIncrement(c checkpoints) {
	const each = 10
	var wg, loaded sync.WaitGroup
	loaded.Add(racers)
	for range racers {
		wg.Go(func() {
			meet := sync.OnceFunc(func() { loaded.Done(); loaded.Wait() })
			for n := 0; n < each; {
				old, err := c.LoadCheckpoint(c.ctx, "a")
				meet() // all have the same one to begin with
				if err != nil {
					c.Errorf("LoadCheckpoint: %v", err)
					return
				}
				runtime.Gosched() // and let others in between
				switch err := c.SaveCheckpoint(c.ctx, "a", old, at(old.Position+1, old.Epoch, ""), nil); {
				case err == nil:
					n++
				case !is(err, eventsource.ErrFenced):
					c.Errorf("SaveCheckpoint: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.holds("a", at(racers*each, 0, ""))
}

func endedSaves(c checkpoints) {
	ctx, cause := ended()
	if _, err := c.LoadCheckpoint(ctx, "a"); !is(err, cause) {
		c.Fatalf("LoadCheckpoint is %v, want the cause", err)
	}
	if err := c.SaveCheckpoint(ctx, "a", eventsource.Checkpoint{}, at(1, 1, ""), nil); !is(err, cause) {
		c.Fatalf("SaveCheckpoint is %v, want the cause", err)
	}
	c.holds("a", eventsource.Checkpoint{})
}
