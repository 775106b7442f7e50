package sharding_test

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// T18: ranges are half open, up to the ends of the type; nothing computes
// To+1.
func TestRangesAreHalfOpen(t *testing.T) {
	r, err := sharding.NewRanges(
		sharding.Between[int64](math.MinInt64, 0, "neg"), sharding.Between[int64](0, math.MaxInt64, "pos"),
	)
	require.NoError(t, err)
	for key, want := range map[int64]sharding.ID{math.MinInt64: "neg", -1: "neg", 0: "pos", math.MaxInt64 - 1: "pos"} {
		id, err := r.Owner(key)
		require.NoError(t, err)
		assert.Equal(t, want, id, "%d", key)
	}
	_, err = r.Owner(math.MaxInt64)
	assert.ErrorIs(t, err, sharding.ErrNoOwner)

	u, err := sharding.NewRanges(sharding.Range[uint64]{To: new(uint64(7)), Owner: "a"}, sharding.Range[uint64]{From: new(uint64(7)), Owner: "b"})
	require.NoError(t, err)
	for key, want := range map[uint64]sharding.ID{0: "a", 6: "a", 7: "b", math.MaxUint64: "b"} {
		id, _ := u.Owner(key)
		assert.Equal(t, want, id, "%d", key)
	}
	_, err = sharding.NewRanges(sharding.Between(1, 1_000_001, "a"), sharding.Between(1_000_000, 2_000_000, "b"))
	assert.ErrorIs(t, err, sharding.ErrOverlap, "1M in two ranges")
}

// T19: all that is wrong is reported at once, from unsorted input, with both
// neighbours and the keys.
func TestEveryGapAndOverlapIsReported(t *testing.T) {
	_, err := sharding.NewRanges(
		sharding.Between(90, 100, "g"), // gap before it
		sharding.Between(10, 50, "b"),
		sharding.Between(0, 10, "a"),
		sharding.Between(20, 30, "c"), // inside b
		sharding.Between(45, 60, "d"), // overlaps b, behind c
		sharding.Between(60, 70, "e"),
		sharding.Between(60, 70, "e2"), // a duplicate
		sharding.Between(80, 80, "f"),  // empty
		sharding.Between(99, 98, "h"),  // inverted
		sharding.Between(1, 2, ""),
	)
	require.Error(t, err)
	for _, part := range []string{
		"[10, 50) -> b and [20, 30) -> c both own [20, 30)",
		"[10, 50) -> b and [45, 60) -> d both own [45, 50)",
		"[60, 70) -> e and [60, 70) -> e2 both own [60, 70)",
		"nobody owns [70, 90) between [60, 70) -> e and [90, 100) -> g",
		"range [80, 80) -> f: it is empty",
		"range [99, 98) -> h: it is empty",
		"range [1, 2) -> : shard ID is empty",
	} {
		assert.Contains(t, err.Error(), part)
	}
	assert.ErrorIs(t, err, sharding.ErrGap)
	assert.ErrorIs(t, err, sharding.ErrOverlap)
	assert.False(t, strings.Contains(err.Error(), "a and"), err.Error())

	_, err = sharding.NewRanges(all[int]("a"), all[int]("b"))
	assert.ErrorIs(t, err, sharding.ErrOverlap)
	_, err = sharding.NewRanges[int]()
	assert.Contains(t, err.Error(), "no ranges")
}

// T20: keys below the first and at or above the last bound have no owner.
func TestOutsideTheRangesIsNoOwner(t *testing.T) {
	for _, m := range []sharding.Map[int]{
		ints(t, sharding.Between(10, 20, "a"), sharding.Between(20, 30, "b")),
		func() sharding.Map[int] {
			m, err := sharding.NewRangesFunc(func(a, b int) int { return a - b }, sharding.Between(20, 30, "b"), sharding.Between(10, 20, "a"))
			require.NoError(t, err)
			return m
		}(),
	} {
		for _, key := range []int{math.MinInt, 9, 30, 31, math.MaxInt} {
			id, err := m.Owner(key)
			assert.ErrorIs(t, err, sharding.ErrNoOwner)
			assert.Equal(t, sharding.ID(""), id)
			n, err := m.Owners(key, make([]sharding.ID, 1))
			assert.Equal(t, 0, n)
			assert.ErrorIs(t, err, sharding.ErrNoOwner)
		}
		n, err := m.Owners(9, nil)
		assert.Equal(t, 0, n)
		assert.NoError(t, err, "T12: no room is no error")
		n, err = m.Owners(15, make([]sharding.ID, 2))
		assert.Equal(t, 1, n)
		assert.ErrorIs(t, err, sharding.ErrNoOwner)
		_, err = m.Owner(30)
		assert.Contains(t, err.Error(), "key 30 is not in [10, 30)")
	}
}

// T21: NaN is in no range, not even in all; -0.0 is 0.0.
func TestFloatRanges(t *testing.T) {
	r, err := sharding.NewRanges(sharding.Range[float64]{To: new(0.0), Owner: "neg"}, sharding.Range[float64]{From: new(0.0), Owner: "pos"})
	require.NoError(t, err)
	for key, want := range map[float64]sharding.ID{math.Inf(-1): "neg", -1: "neg", math.Copysign(0, -1): "pos", 0: "pos", math.Inf(1): "pos"} {
		id, err := r.Owner(key)
		require.NoError(t, err)
		assert.Equal(t, want, id, "%v", key)
	}
	_, err = r.Owner(math.NaN())
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	_, err = routerOf[float64](t, r, sharding.Config{}).Route(math.NaN())
	assert.ErrorIs(t, err, sharding.ErrNoOwner)

	_, err = sharding.NewRanges(sharding.Between(math.NaN(), 1, "a"))
	assert.Contains(t, err.Error(), "NaN")
	_, err = sharding.NewRanges(sharding.Between(0, math.NaN(), "a"))
	assert.Contains(t, err.Error(), "NaN")
	_, err = r.Split(math.NaN(), "a")
	assert.Contains(t, err.Error(), "NaN")
	_, err = r.Move(sharding.Between(math.NaN(), 1, "a"))
	assert.Contains(t, err.Error(), "NaN")
	assert.Equal(t, 0, len(slices.Collect(r.Overlapping(new(math.NaN()), nil))))
}

func TestSplitMergeMove(t *testing.T) {
	r := ints(t, sharding.Between(0, 100, "a"))
	r, err := r.Split(50, "b")
	require.NoError(t, err)
	kept, err := r.Split(20, "")
	require.NoError(t, err)
	assert.Equal(t, "[[0, 20) -> a [20, 50) -> a [50, 100) -> b]", text(kept))
	merged, err := kept.Merge(20)
	require.NoError(t, err)
	assert.Equal(t, text(r), text(merged))
	moved, err := kept.Move(sharding.Between(10, 60, "c"))
	require.NoError(t, err)
	assert.Equal(t, "[[0, 10) -> a [10, 20) -> c [20, 50) -> c [50, 60) -> c [60, 100) -> b]", text(moved))
	plan, err := kept.Diff(moved)
	require.NoError(t, err)
	assert.Equal(t, "[10, 50) a -> c\n[50, 60) b -> c", plan.String(), "the fewest moves")

	for part, f := range map[string]func() (*sharding.Ranges[int], error){
		"it is a bound already":          func() (*sharding.Ranges[int], error) { return kept.Split(20, "x") },
		"key 101 is not in":              func() (*sharding.Ranges[int], error) { return kept.Split(101, "x") },
		"cannot split at 0":              func() (*sharding.Ranges[int], error) { return kept.Split(0, "x") },
		"have different owners":          func() (*sharding.Ranges[int], error) { return kept.Merge(50) },
		"no two ranges meet there":       func() (*sharding.Ranges[int], error) { return kept.Merge(30) },
		"cannot merge at 0":              func() (*sharding.Ranges[int], error) { return kept.Merge(0) },
		"cannot merge at 100":            func() (*sharding.Ranges[int], error) { return kept.Merge(100) },
		"[100, 101) is not covered":      func() (*sharding.Ranges[int], error) { return kept.Move(sharding.Between(90, 101, "x")) },
		"(-inf, 0) is not covered":       func() (*sharding.Ranges[int], error) { return kept.Move(sharding.Range[int]{To: new(5), Owner: "x"}) },
		"From must be below To":          func() (*sharding.Ranges[int], error) { return kept.Move(sharding.Between(5, 5, "x")) },
		"shard ID is empty":              func() (*sharding.Ranges[int], error) { return kept.Move(sharding.Between(5, 6, "")) },
		"shard ID \"\\n\" holds a contr": func() (*sharding.Ranges[int], error) { return kept.Split(5, "\n") },
	} {
		_, err := f()
		require.Error(t, err, part)
		assert.Contains(t, err.Error(), part)
	}
}

// Gained and lost cover shows in a plan as nobody.
func TestDiffOfOtherCover(t *testing.T) {
	small, large := ints(t, sharding.Between(10, 20, "a")), ints(t, all[int]("a"))
	plan, err := small.Diff(large)
	require.NoError(t, err)
	assert.Equal(t, "(-inf, 10) nobody -> a\n[20, +inf) nobody -> a", plan.String())
	plan, err = large.Diff(small)
	require.NoError(t, err)
	assert.Equal(t, "(-inf, 10) a -> nobody\n[20, +inf) a -> nobody", plan.String())
	assert.Equal(t, "[20, +inf) nobody -> a\n(-inf, 10) nobody -> a", plan.Reverse().String())
}

func TestOverlapping(t *testing.T) {
	r := ints(t, sharding.Between(0, 10, "a"), sharding.Between(10, 20, "b"), sharding.Between(20, 30, "c"))
	for _, c := range []struct {
		from, to *int
		want     string
	}{
		{nil, nil, "[[0, 10) -> a [10, 20) -> b [20, 30) -> c]"},
		{new(10), new(20), "[[10, 20) -> b]"},
		{new(9), new(21), "[[0, 10) -> a [10, 20) -> b [20, 30) -> c]"},
		{new(9), new(10), "[[0, 10) -> a]"},
		{new(-5), new(1), "[[0, 10) -> a]"},
		{new(30), nil, "[]"},
		{nil, new(0), "[]"},
		{new(15), new(15), "[]"},
		{new(16), new(15), "[]"},
		{new(25), nil, "[[20, 30) -> c]"},
	} {
		assert.Equal(t, c.want, text2(slices.Collect(r.Overlapping(c.from, c.to))))
	}
	for range r.Overlapping(nil, nil) {
		break // stopping early is allowed
	}
	for range r.All() {
		break
	}
}

// T41: bounds that go in or come out may be changed without effect, those of
// byte slices too.
func TestRangesDoNotAlias(t *testing.T) {
	low, high := []byte("a"), []byte("m")
	r, err := sharding.NewRangesFunc(bytes.Compare, sharding.Range[[]byte]{From: &low, To: &high, Owner: "x"})
	require.NoError(t, err)
	low[0], high[0] = 'z', 'z'
	got := slices.Collect(r.All())
	assert.Equal(t, `["a", "m") -> x`, got[0].String())
	(*got[0].From)[0] = 'l'
	at := []byte("f")
	s, err := r.Split(at, "y")
	require.NoError(t, err)
	at[0] = 'b'
	id, err := s.Owner([]byte("c"))
	require.NoError(t, err)
	assert.Equal(t, sharding.ID("x"), id)

	bound := sharding.Between(1, 5, "a")
	n := ints(t, bound)
	*bound.From = 3
	_, err = n.Owner(2)
	assert.NoError(t, err)
	m, err := n.Move(sharding.Between(1, 3, "b"))
	require.NoError(t, err)
	plan, _ := n.Diff(m)
	*plan[0].Keys.To = 77
	assert.Equal(t, "[[1, 3) -> b [3, 5) -> a]", text(m))
}

func text(r *sharding.Ranges[int]) string { return text2(slices.Collect(r.All())) }

func text2(ranges []sharding.Range[int]) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = r.String()
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// T41: byte slices of a type of their own are copied as well.
func TestNamedByteSlicesAreCopied(t *testing.T) {
	type id []byte
	low := id("b")
	r, err := sharding.NewRangesFunc(func(a, b id) int { return bytes.Compare(a, b) }, sharding.Range[id]{From: &low, Owner: "x"})
	require.NoError(t, err)
	low[0] = 'z'
	for got := range r.All() {
		require.Equal(t, "b", string(*got.From))
		(*got.From)[0] = 'y'
	}
	owner, err := r.Owner(id("c"))
	require.NoError(t, err)
	assert.Equal(t, sharding.ID("x"), owner)
}

// T21: NaN has no owner under an order of one's own either.
func TestNaNHasNoOwnerUnderAnyOrder(t *testing.T) {
	r, err := sharding.NewRangesFunc(cmp.Compare[float64], all[float64]("x"))
	require.NoError(t, err)
	_, err = r.Owner(math.NaN())
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	_, err = r.Owner(1)
	assert.NoError(t, err)
}
