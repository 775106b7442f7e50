package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// wrapped is a Memory that a coordinator takes for any other store: commits are shared.
type wrapped struct{ *saga.Memory }

// flatS is copied from step to step; deepS is encoded and decoded.
type flatS struct {
	N    int    `json:"n,omitempty"`
	Text string `json:"text,omitempty"`
	Big  string `json:"big"`
	Flag bool
	U    uint64 `json:",omitempty"`
}

type deepS struct {
	N     int            `json:"n,omitempty"`
	Text  string         `json:"text,omitempty"`
	Notes map[string]int `json:"notes,omitempty"`
	List  []int          `json:"list"`
	P     *int           `json:"p,omitempty"`
	F     float64
}

var words = []string{"", "a", "ü<", "\xff", "q\"", strings.Repeat("\x00", 300), strings.Repeat("x", 90)}

func changeFlat(s *flatS, rnd *rand.Rand) {
	switch rnd.IntN(4) {
	case 0:
		s.N = rnd.IntN(3)
	case 1:
		s.Text = words[rnd.IntN(len(words))]
	case 2:
		s.Big, s.Flag = words[rnd.IntN(len(words))], !s.Flag
	case 3:
		s.U = rnd.Uint64() * uint64(rnd.IntN(2))
	}
}

func changeDeep(s *deepS, rnd *rand.Rand) {
	switch rnd.IntN(4) {
	case 0:
		s.N, s.Text = rnd.IntN(3), words[rnd.IntN(len(words))]
	case 1:
		if s.Notes == nil {
			s.Notes = map[string]int{}
		}
		s.Notes["x"], s.List = rnd.IntN(3), append(s.List, 1)
	case 2:
		x := rnd.IntN(4)
		s.P, s.F = &x, 1.5
	case 3:
		s.P, s.Notes, s.List = nil, nil, nil
	}
}

// A Memory is committed to in a way of its own. Whatever happens to a saga, its log and
// its result are what they are on another store, each call finds what the last one that
// was done has left, and Run returns what Get finds.
func TestMemoryIsAStoreLikeAnyOther(t *testing.T) {
	var all strings.Builder
	for seed := range uint64(200) {
		all.WriteString(sameOnBoth(t, seed, changeFlat))
		all.WriteString(sameOnBoth(t, seed, changeDeep))
	}
	for _, what := range []string{
		"\nfail", "\nrefuse", "\npark", "\nwake", "\ncancel", "\nundone", "\nundofail", "panic: boom", "runtime.Goexit",
		"State:completed", "State:compensated",
	} {
		assert.True(t, strings.Contains(all.String(), what), "never happened: "+what)
	}
}

func sameOnBoth[S any](t *testing.T, seed uint64, change func(*S, *rand.Rand)) string {
	t.Helper()
	var lines [2]string
	for i, store := range []saga.Store{saga.NewMemory(), wrapped{saga.NewMemory()}} {
		inBubble(t, func(t *testing.T) { lines[i] = play(t, store, seed, change) })
	}
	require.Equal(t, lines[1], lines[0], fmt.Sprintf("seed %d of %T", seed, *new(S)))
	return lines[0]
}

// play runs one random saga and tells what became of it.
func play[S any](t *testing.T, store saga.Store, seed uint64, change func(*S, *rand.Rand)) string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := serve(t, store, saga.Config{})
	synctest.Wait() // it serves
	var in, model S
	change(&in, rnd)
	model = decoded(t, in)
	call := func(ctx context.Context, s *S) error {
		assert.True(t, reflect.DeepEqual(decoded(t, *s), model), fmt.Sprintf("seed %d: %s finds %+v, want %+v", seed, saga.CallFrom(ctx).Key(), *s, model))
		change(s, rnd)
		if err := mishap(ctx, b.c, rnd); err != nil {
			return err
		}
		model = decoded(t, *s)
		return nil
	}
	d, soon := saga.Definition[S]{Name: "twin"}, 100*time.Millisecond
	for i := range 1 + rnd.IntN(6) {
		step := saga.Step[S]{Name: fmt.Sprint("s", i), Do: call, Retry: saga.Retry{Attempts: 3, Cap: soon}, UndoRetry: saga.Retry{Attempts: -1, Cap: soon}}
		if rnd.IntN(4) > 0 {
			step.Undo = call
		}
		d.Steps = append(d.Steps, step)
	}
	s := register(t, b.c, d)
	if rnd.IntN(2) == 0 { // started elsewhere, and claimed
		other, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		require.NoError(t, register(t, other, d).Start(t.Context(), "1", in))
	}
	got, err := s.Run(t.Context(), "1", in)
	stored, sum, errGet := s.Get(t.Context(), "1")
	require.NoError(t, errGet)
	assert.True(t, reflect.DeepEqual(got, stored) && reflect.DeepEqual(decoded(t, got), model),
		fmt.Sprintf("seed %d: Run %+v, Get %+v, want %+v", seed, got, stored, model))
	b.stop()
	return told(b, got, sum, err)
}

// mishap is what a call does beside its work: mostly nothing.
func mishap(ctx context.Context, c *saga.Coordinator, rnd *rand.Rand) error {
	call := saga.CallFrom(ctx)
	switch x := rnd.IntN(14); {
	case x == 0 && !call.Undo:
		return saga.Refuse(errors.New("no"))
	case x == 1:
		return errors.New("again")
	case x == 2:
		panic("boom")
	case x == 3:
		runtime.Goexit()
	case x == 4 && !call.TimedOut:
		return saga.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
	case x == 5 && !call.Undo:
		err := c.Cancel(ctx, call.Saga, "another plan")
		time.Sleep(time.Millisecond) // until it is in the log
		return err
	}
	return nil
}

// told is all that a saga leaves, but for times, which retries draw, and stacks.
func told(b *bench, got any, sum saga.Summary, err error) string {
	sum.Started, sum.Updated, sum.WakeAt = time.Time{}, time.Time{}, time.Time{}
	sum.Owner, sum.Cause = "", ""
	var all strings.Builder
	value, _ := json.Marshal(got)
	text, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	fmt.Fprintf(&all, "%s %+v %s\n", value, sum, text)
	for r, err := range b.c.History(b.Context(), "1") {
		require.NoError(b, err)
		r.Error, _, _ = strings.Cut(r.Error, "\n")
		var data map[string]any
		if json.Unmarshal(r.Data, &data) == nil && data["wait"] != nil {
			data["wait"] = "drawn"
		}
		fmt.Fprintln(&all, r.Kind, r.Step, r.Code, r.Error, r.Attempt, r.Seq, r.Epoch, r.State, data)
	}
	return all.String()
}

func decoded[S any](t *testing.T, s S) (out S) {
	data, err := json.Marshal(&s)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}
