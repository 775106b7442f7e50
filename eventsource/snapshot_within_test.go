package eventsource_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// tagged is a decision about everything in the streams a and b, written to s.
func tagged(s string) eventsource.Scope {
	return eventsource.Scope{Stream: s, Within: eventsource.Query{{Streams: []string{"a", "b"}}}}
}

// A history across streams that keeps growing is not read whole for each command.
func TestSnapshotsSaveReadingWithinAQuery(t *testing.T) {
	m := eventsource.NewMemory()
	folded := 0
	d := counted(snapped(10), &folded)
	for i := range 100 {
		folded = 0
		out, err := d.Handle(t.Context(), m, accounts, tagged([]string{"a", "b"}[i%2]), 1)
		require.NoError(t, err)
		require.NoError(t, out.SnapshotErr)
		assert.Equal(t, account{Balance: i + 1, Events: i + 1}, out.State)
		assert.True(t, folded <= 11, folded)
	}
}

// A repeat is recognised although the snapshot covers what its first call did.
func TestARepeatBehindASnapshotWithinAQueryIsFound(t *testing.T) {
	m := eventsource.NewMemory()
	d := snapped(3)
	in := tagged("a")
	in.Key = "the-first"
	first, err := d.Handle(t.Context(), m, accounts, in, 7)
	require.NoError(t, err)
	for range 20 {
		_, err = d.Handle(t.Context(), m, accounts, tagged("b"), 1)
		require.NoError(t, err)
	}
	again, err := d.Handle(t.Context(), m, accounts, in, 7)
	require.NoError(t, err)
	assert.True(t, again.Duplicate)
	assert.Equal(t, first.State, again.State)
}

// A snapshot of a history that is not this store's, or of nothing at all, is not
// believed.
func TestSnapshotWithinAQueryThatDoesNotFit(t *testing.T) {
	other := eventsource.NewMemory()
	for range 5 {
		_, err := snapped(1).Handle(t.Context(), other, accounts, tagged("a"), 900)
		require.NoError(t, err)
	}
	query, err := json.Marshal(tagged("a").Within)
	require.NoError(t, err)
	sum := sha256.Sum256(query)
	name := "snapshot/v1//" + hex.EncodeToString(sum[:])
	foreign, err := other.LoadCheckpoint(t.Context(), name)
	require.NoError(t, err)
	require.True(t, foreign.Epoch > 0, "no snapshot under %s", name)

	for what, cp := range map[string]eventsource.Checkpoint{
		"of another store": foreign, "not JSON": {Position: 1, Epoch: 1, Data: []byte("x")}, "beyond Head": {Position: 99, Epoch: 1, Data: foreign.Data},
	} {
		t.Run(what, func(t *testing.T) {
			m := eventsource.NewMemory()
			put(t, m, "a", deposited{10}, deposited{20}, deposited{30}, deposited{40}, deposited{50})
			require.NoError(t, m.SaveCheckpoint(t.Context(), name, eventsource.Checkpoint{}, cp, nil))
			for i := range 3 {
				out, err := snapped(100).Handle(t.Context(), m, accounts, tagged("b"), 5)
				require.NoError(t, err)
				require.NoError(t, out.SnapshotErr)
				assert.Equal(t, account{Balance: 155 + 5*i, Events: 6 + i}, out.State)
			}
		})
	}
}
