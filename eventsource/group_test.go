package eventsource_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestAssign(t *testing.T) {
	for _, c := range []struct{ members, owners, want []string }{
		{nil, []string{"a", ""}, []string{"", ""}},
		{[]string{"a"}, []string{"", "", ""}, []string{"a", "a", "a"}},
		{[]string{"a", "b"}, []string{"a", "a", "a"}, []string{"a", "a", "b"}},
		{[]string{"a", "b", "c"}, []string{"a", "a", "b", "b"}, []string{"a", "a", "b", "c"}},
		{[]string{"b"}, []string{"a", "b"}, []string{"b", "b"}},
		{[]string{"a", "b"}, []string{"b", "b", "b"}, []string{"b", "b", "a"}},
		{[]string{"a", "b", "c"}, []string{""}, []string{"a"}},
	} {
		assert.Equal(t, c.want, eventsource.Assign(c.members, c.owners), "%v %v", c.members, c.owners)
	}
}

// The reference tries every assignment: the chosen one is as even as can be,
// and of those no other moves less.
func TestAssignMovesAsLittleAsCanBe(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		members := names[:1+rng.IntN(len(names))]
		owners := make([]string, 1+rng.IntN(6))
		for i := range owners {
			if n := rng.IntN(len(names) + 1); n < len(names) {
				owners[i] = names[n]
			}
		}
		got := eventsource.Assign(members, owners)
		require.True(t, even(members, got), "%v %v: %v", members, owners, got)
		assert.Equal(t, fewestMoves(members, owners), moves(owners, got), "%v %v: %v", members, owners, got)
		assert.Equal(t, got, eventsource.Assign(members, got), "stays as it is")
	}
}

func even(members, owners []string) bool {
	count := map[string]int{}
	for _, o := range owners {
		count[o]++
	}
	least, most := len(owners), 0
	for _, m := range members {
		least, most = min(least, count[m]), max(most, count[m])
	}
	return most-least <= 1 && count[""] == 0
}

func moves(from, to []string) (n int) {
	for i := range from {
		if from[i] != to[i] {
			n++
		}
	}
	return n
}

func fewestMoves(members, owners []string) int {
	fewest := len(owners)
	try := make([]string, len(owners))
	var each func(i int)
	each = func(i int) {
		if i == len(try) {
			if even(members, try) {
				fewest = min(fewest, moves(owners, try))
			}
			return
		}
		for _, m := range members {
			try[i] = m
			each(i + 1)
		}
	}
	each(0)
	return fewest
}

// Golden: fmix64(FNV-1a-64(key)) mod n, computed by other means.
func TestPartitionsAreFrozen(t *testing.T) {
	counts := []int{1, 2, 3, 4, 16, 1000}
	for key, want := range map[string][]int{
		"":            {0, 0, 2, 2, 6, 342},
		"a":           {0, 1, 2, 3, 11, 315},
		"account-7":   {0, 0, 1, 0, 8, 584},
		"ключ":        {0, 1, 0, 1, 5, 421},
		"customer:42": {0, 0, 2, 0, 0, 128},
	} {
		for i, n := range counts {
			assert.Equal(t, want[i], eventsource.Partition(key, n), "%q mod %d", key, n)
		}
	}
}

func TestPartitionsAreEven(t *testing.T) {
	var count [16]int
	for i := range 160_000 {
		count[eventsource.Partition(fmt.Sprint("account-", i), len(count))]++
	}
	for _, n := range count {
		assert.InDelta(t, 10_000, float64(n), 500)
	}
}

// The reference is a slice of everything that was pushed.
func TestRingAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 4 {
		ring := eventsource.NewRing(5)
		var all []eventsource.Recorded
		var parts []int
		pos := eventsource.Position(5)
		at := make([]eventsource.Position, 3) // how far each partition is
		for i := range at {
			at[i] = pos
		}
		for range 250 {
			for range rng.IntN(100) {
				pos += eventsource.Position(1 + rng.IntN(3))
				r := eventsource.Recorded{Position: pos, Event: eventsource.Event{Data: make([]byte, rng.IntN(4))}}
				all, parts = append(all, r), append(parts, rng.IntN(3))
				ring.Push(r, parts[len(parts)-1])
			}
			require.NoError(t, ring.Check())
			part, limit, bound := rng.IntN(3), 1+rng.IntN(40), eventsource.Position(0)
			if rng.IntN(2) == 0 {
				bound = at[part] + eventsource.Position(rng.IntN(50))
			}
			b, ok := ring.Collect(part, at[part], bound, limit)
			if !ok {
				at[part] = pos // read elsewhere
				continue
			}
			want := model(all, parts, part, at[part], b.Through)
			require.Equal(t, want, positions(b.Events))
			require.True(t, len(b.Events) <= limit && (bound == 0 || b.Through <= max(bound, at[part])))
			if len(b.Events) < limit && bound == 0 {
				require.Equal(t, pos, b.Through)
			}
			at[part] = b.Through
		}
	}
}

func model(all []eventsource.Recorded, parts []int, part int, after, through eventsource.Position) (want []eventsource.Position) {
	for i, r := range all {
		if parts[i] == part && r.Position > after && r.Position <= through {
			want = append(want, r.Position)
		}
	}
	return want
}

func positions(events []eventsource.Recorded) (all []eventsource.Position) {
	for _, r := range events {
		all = append(all, r.Position)
	}
	return all
}

// T24: what a stuck partition leaves behind does not grow.
func TestRingIsBounded(t *testing.T) {
	ring := eventsource.NewRing(0)
	for i := range 100_000 {
		ring.Push(eventsource.Recorded{Position: eventsource.Position(i + 1)}, 0)
	}
	events, _ := ring.Size()
	assert.Equal(t, 8192, events)
	_, ok := ring.Collect(0, 1000, 0, 10)
	assert.False(t, ok, "too old")
	b, ok := ring.Collect(0, 100_000-8192, 0, 10)
	require.True(t, ok)
	assert.Equal(t, 10, len(b.Events))
	_, ok = ring.Collect(0, 100_000-8192, 0, 10)
	assert.False(t, ok, "they are somebody's by now")

	ring = eventsource.NewRing(0)
	for i := range 100 {
		ring.Push(eventsource.Recorded{Position: eventsource.Position(i + 1), Event: eventsource.Event{Data: make([]byte, 1<<20)}}, 0)
	}
	events, bytes := ring.Size()
	assert.Equal(t, []int{64, 64 << 20}, []int{events, bytes})
	require.NoError(t, ring.Check())
}
