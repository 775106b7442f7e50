package wire_test

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// Two modules on one log do not see each other, use the same names without harm, and
// can be written to in one append.
func TestModulesShareALogAndNothingElse(t *testing.T) {
	log := eventsource.NewMemory()
	a, b := wire.NewView(log, "a"), wire.NewView(log, "b")
	event := func(id string) []eventsource.Event {
		return []eventsource.Event{{ID: id, Stream: "s", Type: "T", Tags: []string{"t"}, Data: []byte("1")}}
	}
	all := func(v *wire.View, q eventsource.Query) (found []eventsource.Recorded) {
		for r, err := range v.Read(t.Context(), q, eventsource.ReadOptions{}) {
			require.NoError(t, err)
			found = append(found, r)
		}
		return found
	}
	for _, v := range []*wire.View{a, b} {
		result, err := v.Append(t.Context(), event("x"), eventsource.NoStream("s"))
		require.NoError(t, err)
		assert.False(t, result.Duplicate)
		result, err = v.Append(t.Context(), event("x"))
		require.NoError(t, err)
		assert.True(t, result.Duplicate)
		for _, q := range []eventsource.Query{eventsource.All(), eventsource.Stream("s"), {{Tags: []string{"t"}}}, {{IDs: []string{"x"}}}} {
			found := all(v, q)
			require.Equal(t, 1, len(found), "%v", q)
			assert.Equal(t, event("x")[0], eventsource.Event{
				ID: found[0].ID, Stream: found[0].Stream, Type: found[0].Type, Tags: found[0].Tags, Data: found[0].Data,
			})
		}
		_, err = v.Append(t.Context(), event("y"), eventsource.NoneSince(eventsource.Query{{Tags: []string{"t"}}}, 0))
		assert.ErrorIs(t, err, eventsource.ErrConflict)
		assert.NoError(t, v.SaveCheckpoint(t.Context(), "c", eventsource.Checkpoint{}, eventsource.Checkpoint{Position: 1}, nil))
	}
	ea, ca := a.Translate(event("z"), []eventsource.Condition{eventsource.AtVersion("s", 1)})
	eb, cb := b.Translate(event("z"), []eventsource.Condition{eventsource.AtVersion("s", 7)})
	_, err := log.Append(t.Context(), append(ea, eb...), append(ca, cb...)...)
	assert.ErrorIs(t, err, eventsource.ErrConflict, "both or none")
	assert.Equal(t, 1, len(all(a, eventsource.Stream("s"))))
}
