package sharding_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

const lookups = 1_000_000

// digest hashes what f writes for each of a million numbers.
func digest(f func(i int, b []byte) []byte) string {
	sum := xxhash.New()
	var b []byte
	for i := range lookups {
		b = f(i, b[:0])
		_, _ = sum.Write(b)
	}
	return fmt.Sprintf("%016x", sum.Sum64())
}

func number(f func(i int) uint64) string {
	return digest(func(i int, b []byte) []byte { return binary.LittleEndian.AppendUint64(b, f(i)) })
}

// owners digests the lookups of a map, n owners each.
func owners(t *testing.T, m sharding.Map[string], n int) string {
	dst := make([]sharding.ID, n)
	return digest(func(i int, b []byte) []byte {
		found, err := m.Owners("user:"+strconv.Itoa(i), dst)
		require.NoError(t, err)
		for _, id := range dst[:found] {
			b = append(append(b, id...), 0)
		}
		return b
	})
}

func weighted(n, zones int) []sharding.Shard {
	all := shards(n)
	for i := range all {
		all[i].Weight = uint32(1 + i%4)
		all[i].Zone = "zone-" + strconv.Itoa(i%zones)
	}
	return all
}

// encodings is everything that is frozen, by name.
func encodings(t *testing.T) map[string]string {
	key := func(i int) string { return "user:" + strconv.Itoa(i) }
	rank := func(all []sharding.Shard) string {
		dst := make([]sharding.ID, 2)
		return digest(func(i int, b []byte) []byte {
			for _, id := range dst[:sharding.Rank(sharding.Int(i), all, dst)] {
				b = append(append(b, id...), 0)
			}
			return b
		})
	}
	bucket := func(f func(uint64, int) int) string {
		return number(func(i int) uint64 { return uint64(f(sharding.Int(i), 1+i%1000)) })
	}
	return map[string]string{
		"String":             number(func(i int) uint64 { return sharding.String(key(i)) }),
		"Bytes":              number(func(i int) uint64 { return sharding.Bytes([]byte(key(i))) }),
		"Int":                number(func(i int) uint64 { return sharding.Int(i - lookups/2) }),
		"Mod":                bucket(sharding.Mod),
		"Jump":               bucket(sharding.Jump),
		"JumpBack":           bucket(sharding.JumpBack),
		"Rank equal":         rank(shards(9)),
		"Rank weighted":      rank(weighted(9, 3)),
		"Slots 1":            owners(t, slots(t, sharding.SlotConfig{Shards: shards(1)}), 1),
		"Slots 64":           owners(t, slots(t, sharding.SlotConfig{Shards: shards(64)}), 1),
		"Slots weighted":     owners(t, slots(t, sharding.SlotConfig{Shards: weighted(20, 3), Owners: 3}), 3),
		"Slots cap 105":      owners(t, slots(t, sharding.SlotConfig{Shards: shards(20), CapPercent: 105}), 1),
		"Slots cap weighted": owners(t, slots(t, sharding.SlotConfig{Shards: weighted(20, 3), CapPercent: 100, Owners: 2}), 2),
		"Slots of 2^18":      owners(t, slots(t, sharding.SlotConfig{Shards: shards(8), Slots: 1 << 18}), 1),
		"Slots assigned": owners(t, slots(t, sharding.SlotConfig{
			Shards: append(shards(8), sharding.Shard{ID: "gone", Drain: true}), Assigned: []sharding.Range[int]{sharding.Between(100, 5000, "gone")},
		}), 1),
	}
}

// T1, T5: a release must not move keys, and platforms must agree: this test
// runs with GOARCH=386 too. A digest that differs is answered by a new name
// for the new function, never by a new digest. KEELSON_GOLDEN=new writes the
// file when a function is added.
func TestPlacementsAreFrozen(t *testing.T) {
	got := encodings(t)
	const file = "testdata/golden.txt"
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintf(&lines, "%s %s\n", got[name], name)
	}
	if os.Getenv("KEELSON_GOLDEN") == "new" {
		require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), lines.String())
}

// T2: IDs are hashed as they are; nothing is appended to them. Shards whose
// names run into each other do not affect one another.
func TestIDsAreNotConcatenated(t *testing.T) {
	with := slots(t, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "node1"}, {ID: "node11"}, {ID: "node"}, {ID: "node110"}}})
	without := slots(t, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "node11"}, {ID: "node"}, {ID: "node110"}}})
	plan, err := with.Diff(without)
	require.NoError(t, err)
	for _, m := range plan {
		require.Equal(t, sharding.ID("node1"), m.Keys.Owner)
	}
	share := with.Share("node11")
	assert.InDelta(t, 0.25, share, 0.02)
}

// What topology stores hold is frozen too: names, and that zeros are left out.
func TestJSONIsFrozen(t *testing.T) {
	for want, v := range map[string]any{
		`{"shards":[{"id":"a"},{"id":"b","weight":2,"zone":"z","drain":true}],"slots":8,"owners":2,"cap_percent":105,"assigned":[{"from":1,"to":2,"owner":"a"}]}`: sharding.SlotConfig{
			Shards: []sharding.Shard{{ID: "a"}, {ID: "b", Weight: 2, Zone: "z", Drain: true}},
			Slots:  8, Owners: 2, CapPercent: 105, Assigned: []sharding.Range[int]{sharding.Between(1, 2, "a")},
		},
		`{"epoch":0,"map":null}`: sharding.Document{},
		`{"epoch":3,"map":1,"mirror":2,"read_mirror":true,"block":true,"job":3}`: sharding.Document{
			Epoch: 3, Map: json.RawMessage("1"), Mirror: json.RawMessage("2"), ReadMirror: true, Block: true, Job: json.RawMessage("3"),
		},
		`[{"keys":{"from":"a","owner":"x"},"to":"y"}]`: sharding.Plan[string]{{Keys: sharding.Range[string]{From: new("a"), Owner: "x"}, To: "y"}},
		`{"epoch":1}`:                          sharding.Stats{Epoch: 1},
		`{"epoch":2,"previous":1,"moved":0.5}`: sharding.Event{Epoch: 2, Previous: 1, Moved: 0.5, Err: sharding.ErrStale},
		`{}`:                                   sharding.SlotConfig{},
		`{"to":"x","epoch":4}`:                 sharding.MovedError{To: "x", Epoch: 4},
	} {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
	}
}
