package sharding

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keelson-go/keelson/sharding"
)

// space is how many keys the models have; brute is the owner of each, "" for
// none: the obvious way to keep a map of ranges.
const space = 48

type brute [space]sharding.ID

var owner = rapid.SampledFrom([]sharding.ID{"a", "b", "c", "d"})

// rangesModel is a Ranges beside its brute-force map and its set of bounds.
type rangesModel struct {
	real   *sharding.Ranges[int]
	model  brute
	bounds map[int]bool
}

func newRangesModel(t *rapid.T) *rangesModel {
	from := rapid.IntRange(0, space/2).Draw(t, "from")
	to := rapid.IntRange(from+1, space).Draw(t, "to")
	r, err := sharding.NewRanges(sharding.Between(from, to, "a"))
	require.NoError(t, err)
	m := &rangesModel{real: r, bounds: map[int]bool{from: true, to: true}}
	for k := from; k < to; k++ {
		m.model[k] = "a"
	}
	return m
}

func (m *rangesModel) split(t *rapid.T) {
	at, right := rapid.IntRange(0, space-1).Draw(t, "at"), owner.Draw(t, "right")
	next, err := m.real.Split(at, right)
	if m.bounds[at] || m.model[at] == "" {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	m.real, m.bounds[at] = next, true
	for k := at; k < space && m.model[k] != "" && (k == at || !m.bounds[k]); k++ {
		m.model[k] = right
	}
}

func (m *rangesModel) merge(t *rapid.T) {
	at := rapid.IntRange(1, space-1).Draw(t, "at")
	next, err := m.real.Merge(at)
	if !m.bounds[at] || m.model[at] == "" || m.model[at-1] != m.model[at] {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	m.real = next
	delete(m.bounds, at)
}

func (m *rangesModel) move(t *rapid.T) {
	from := rapid.IntRange(0, space-1).Draw(t, "from")
	to := rapid.IntRange(from, space).Draw(t, "to")
	id := owner.Draw(t, "owner")
	next, err := m.real.Move(sharding.Between(from, to, id))
	if from == to || slices.Contains(m.model[from:to], "") {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	m.real, m.bounds[from], m.bounds[to] = next, true, true
	for k := from; k < to; k++ {
		m.model[k] = id
	}
}

// TestRangesHistories drives splits, merges and moves. After each one every
// key has the brute-force owner, the ranges meet end to end, the Diff of any
// two maps applied to the first gives the second and its Reverse restores, and
// neither JSON nor the order of ranges changes anything.
func TestRangesHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newRangesModel(t)
		past := []rangesModel{*m}
		t.Repeat(map[string]func(*rapid.T){
			"split": m.split, "merge": m.merge, "move": m.move,
			"": func(t *rapid.T) {
				m.check(t)
				old := past[rapid.IntRange(0, len(past)-1).Draw(t, "old")]
				requireDiff(t, &old, m)
				requireDiff(t, m, &old)
				past = append(past, *m)
			},
		})
	})
}

func (m *rangesModel) check(t *rapid.T) {
	for k := -1; k <= space; k++ {
		want := sharding.ID("")
		if k >= 0 && k < space {
			want = m.model[k]
		}
		got, err := m.real.Owner(k)
		require.Equal(t, want, got, "key %d", k)
		require.Equal(t, want == "", err != nil)
	}
	all := slices.Collect(m.real.All())
	require.Len(t, all, len(m.bounds)-1)
	for i, r := range all {
		require.True(t, m.bounds[*r.From] && m.bounds[*r.To])
		require.True(t, i == 0 || *all[i-1].To == *r.From, "cover is total")
	}
	doc, err := json.Marshal(all)
	require.NoError(t, err)
	var back []sharding.Range[int]
	require.NoError(t, json.Unmarshal(doc, &back))
	require.Equal(t, all, back)
	again, err := sharding.NewRanges(rapid.Permutation(back).Draw(t, "order")...)
	require.NoError(t, err)
	require.Equal(t, all, slices.Collect(again.All()))
}

func requireDiff(t *rapid.T, from, to *rangesModel) {
	plan, err := from.real.Diff(to.real)
	require.NoError(t, err)
	require.Equal(t, to.model, apply(t, from.model, plan), "%v", plan)
	require.Equal(t, from.model, apply(t, to.model, plan.Reverse()), "%v", plan.Reverse())
	for i, m := range plan { // the fewest moves: no two neighbours could be one
		if i > 0 && *plan[i-1].Keys.To == *m.Keys.From {
			require.False(t, plan[i-1].Keys.Owner == m.Keys.Owner && plan[i-1].To == m.To, "%v", plan)
		}
	}
}

// apply hands keys over one by one; each must belong to the giver.
func apply(t *rapid.T, m brute, plan sharding.Plan[int]) brute {
	for _, move := range plan {
		for k := *move.Keys.From; k < *move.Keys.To; k++ {
			require.Equal(t, move.Keys.Owner, m[k], "key %d of %v", k, move)
			m[k] = move.To
		}
	}
	return m
}

// FuzzNewRanges gives bytes as ranges of small numbers: what is accepted is
// exactly what brute force finds to be whole.
func FuzzNewRanges(f *testing.F) {
	f.Add([]byte{0, 5, 5, 9})
	f.Add([]byte{0, 5, 6, 9})
	f.Add([]byte{0, 5, 4, 9, 4, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		var ranges []sharding.Range[int]
		count := map[int]int{}
		low, high, empty := 256, -1, false
		for i := 0; i+1 < len(data); i += 2 {
			from, to := int(data[i]), int(data[i+1])
			ranges = append(ranges, sharding.Between(from, to, "x"))
			low, high, empty = min(low, from), max(high, to), empty || from >= to
			for k := from; k < to; k++ {
				count[k]++
			}
		}
		whole := len(ranges) > 0 && !empty
		for k := low; k < high; k++ {
			whole = whole && count[k] == 1
		}
		r, err := sharding.NewRanges(ranges...)
		require.Equal(t, whole, err == nil, "%v: %v", ranges, err)
		if err == nil {
			_, err = r.Owner(low)
			require.NoError(t, err)
			_, err = r.Owner(high)
			require.ErrorIs(t, err, sharding.ErrNoOwner)
		}
	})
}
