package saga_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

var golden = flag.Bool("golden", false, "write the histories of this version anew")

// history is a saga as a release of this package has left it.
type history struct {
	Summary saga.Summary  `json:"summary"`
	Log     []saga.Record `json:"log"`
}

// goldens are definitions, and where each history ends once it is resumed.
func goldens(w *world) map[string]struct {
	d     saga.Definition[state]
	ends  saga.State
	trace string
} {
	park := w.step("park", func(c saga.Call) error {
		if c.Signal == "" && !c.TimedOut {
			return saga.Await("go", time.Hour)
		}
		return nil
	})
	failing := w.step("park", func(c saga.Call) error {
		if c.Attempt < 3 {
			return errBroken
		}
		return saga.Refuse(errBroken)
	})
	failing.Retry.Base, failing.Retry.Cap = time.Hour, time.Hour
	left, right := park, w.step("right", nil)
	left.Name, left.After, right.After = "left", []string{"order"}, []string{"order"}
	pivot := w.step("pay", nil)
	pivot.Pivot = true
	type entry = struct {
		d     saga.Definition[state]
		ends  saga.State
		trace string
	}
	return map[string]entry{
		"waiting":  {chain(w, w.step("order", nil), park, w.step("ship", nil)), saga.Completed, "park ship"},
		"retrying": {chain(w, w.step("order", nil), failing), saga.Compensated, "park park park#undo order#undo"},
		"graph":    {chain(w, w.step("order", nil), left, right), saga.Completed, "left"},
		"pivoted":  {chain(w, pivot, park), saga.Completed, "park"},
	}
}

// Histories that this version has written are continued; a later one that cannot
// must say so by a new golden beside these.
func TestGoldenHistoriesResume(t *testing.T) {
	for name := range goldens(&world{}) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "golden", name+".json")
			if *golden {
				inBubble(t, func(t *testing.T) { writeGolden(t, name, file) })
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var h history
			require.NoError(t, json.Unmarshal(text, &h))
			inBubble(t, func(t *testing.T) { resume(t, name, h) })
		})
	}
}

func writeGolden(t *testing.T, name, file string) {
	b := serve(t, saga.NewMemory(), saga.Config{})
	s := register(t, b.c, goldens(&world{})[name].d)
	synctest.Wait()
	require.NoError(t, s.Start(t.Context(), "golden", state{N: 1, Trail: []string{"in"}}))
	synctest.Wait()
	time.Sleep(time.Second)
	sum, log, _, err := b.store.Load(t.Context(), "golden")
	require.NoError(t, err)
	text, err := json.Marshal(history{sum, log}) // compact, as stores keep it
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(text, '\n'), 0o600))
}

func resume(t *testing.T, name string, h history) {
	w, store := &world{}, saga.NewMemory()
	want := goldens(w)[name]
	create := h.Summary
	create.Epoch, create.Owner, create.Seq = 0, "", uint64(len(h.Log))
	_, err := store.Commit(t.Context(), []saga.Write{{Summary: create, Records: h.Log, Release: true}})
	require.NoError(t, err)
	b := serve(t, store, saga.Config{})
	s := register(t, b.c, want.d)
	_, err = s.Wait(t.Context(), "golden")
	assert.Equal(t, want.ends == saga.Completed, err == nil)
	assert.Equal(t, want.ends, b.summary("golden").State)
	assert.Equal(t, want.trace, w.trace())
}
