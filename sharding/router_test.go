package sharding_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// T23: whatever comes late, twice, out of order or not at all, routers that
// have seen the newest topology agree, down to the same answers.
func TestInstallsMayComeInAnyOrder(t *testing.T) {
	rng := seeded(23)
	maps := make([]sharding.Map[int], 20)
	for i := range maps {
		r := ints(t, sharding.Between(0, 1000, "a"))
		for range i {
			at := rng.IntN(999)
			var err error
			r, err = r.Move(sharding.Between(at, at+1+rng.IntN(1000-at), sharding.ID("abcd"[rng.IntN(4):][:1])))
			require.NoError(t, err)
		}
		maps[i] = r
	}
	for range 30 {
		r := routerOf(t, maps[0], sharding.Config{})
		newest := uint64(1)
		for range 40 {
			epoch := uint64(1 + rng.IntN(len(maps)))
			err := r.Install(sharding.Topology[int]{Epoch: epoch, Map: maps[epoch-1]})
			if epoch < newest {
				require.ErrorIs(t, err, sharding.ErrStale)
			} else {
				require.NoError(t, err)
				newest = epoch
			}
		}
		install(t, r, sharding.Topology[int]{Epoch: 100, Map: maps[7]})
		for key := range 1000 {
			want, _ := maps[7].Owner(key)
			require.Equal(t, want, route(t, r, key).Shard)
		}
	}
}

func TestOneEpochHasOneContent(t *testing.T) {
	m := ints(t, sharding.Between(0, 100, "a"))
	cut, err := m.Split(50, "")
	require.NoError(t, err)
	other, err := m.Split(50, "b")
	require.NoError(t, err)
	r := routerOf[int](t, m, sharding.Config{})
	assert.NoError(t, r.Install(sharding.Topology[int]{Epoch: 1, Map: m}))
	assert.NoError(t, r.Install(sharding.Topology[int]{Epoch: 1, Map: cut}), "the same placement, cut otherwise")
	for _, conflict := range []sharding.Topology[int]{
		{Epoch: 1, Map: other},
		{Epoch: 1, Map: m, Mirror: other},
		{Epoch: 1, Map: m, Block: true},
		{Epoch: 1, Map: m, ReadMirror: true},
	} {
		assert.ErrorIs(t, r.Install(conflict), sharding.ErrConflict)
	}
	assert.Equal(t, sharding.Stats{Epoch: 1, Refused: 4}, r.Stats())
	owner := slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 16, Owners: 1})
	owner2 := slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 16, Owners: 2})
	rs := routerOf[string](t, owner, sharding.Config{})
	assert.ErrorIs(t, rs.Install(sharding.Topology[string]{Epoch: 1, Map: owner2}), sharding.ErrConflict)
}

// parities are the owners of each key at even and at odd epochs.
type parities [2]map[string][]sharding.ID

// fits reports whether a route is that of its epoch in every part. No key has
// the same owner at two epochs in a row, so each has its own since its epoch.
func (want parities) fits(key string, rt sharding.Route) bool {
	return rt.Shard == want[rt.Epoch%2][key][0] && rt.Since() == rt.Epoch && rt.Mirror() == "" && rt.Reader() == rt.Shard && !rt.Blocked()
}

// T24: hash, members and epoch come from one snapshot: while 10,000 topologies
// are installed, each answer is the one that its epoch gives.
func TestAnswersComeFromOneSnapshot(t *testing.T) {
	const installs = 10_000
	maps := [2]sharding.Map[string]{
		slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 64, Owners: 2}),
		slots(t, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "x"}, {ID: "y"}}, Slots: 64, Owners: 2}),
	}
	r := routerOf(t, maps[1], sharding.Config{})
	ks := keys(64)
	var want parities
	for i, m := range maps {
		want[i] = map[string][]sharding.ID{}
		for _, key := range ks {
			want[i][key] = make([]sharding.ID, 2)
			if n, err := m.Owners(key, want[i][key]); n != 2 || err != nil {
				t.Fatal(n, err)
			}
		}
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			dst, two := make([]sharding.Route, len(ks)), make([]sharding.ID, 2)
			for i := 0; !done.Load(); i++ {
				key := ks[i%len(ks)]
				rt, err := r.Route(key)
				if err != nil || !want.fits(key, rt) {
					t.Errorf("%s: %+v, %v", key, rt, err)
					return
				}
				if _, err := r.Owners(key, two); err != nil || !slices.Equal(two, want[0][key]) && !slices.Equal(two, want[1][key]) {
					t.Errorf("%s: %v, %v", key, two, err)
					return
				}
				if _, err := r.Routes(ks, dst); err != nil || slices.ContainsFunc(dst, func(rt sharding.Route) bool { return rt.Epoch != dst[0].Epoch }) {
					t.Errorf("%v, %v", dst, err)
					return
				}
				for i, rt := range dst {
					if !want.fits(ks[i], rt) {
						t.Errorf("%s: %+v", ks[i], rt)
						return
					}
				}
			}
		})
	}
	for epoch := uint64(2); epoch < installs+2; epoch++ {
		install(t, r, sharding.Topology[string]{Epoch: epoch, Map: maps[epoch%2]})
	}
	done.Store(true)
	wg.Wait()
	assert.Equal(t, uint64(installs), r.Stats().Installs)
}

func TestLookupsDoNotAllocate(t *testing.T) {
	s := router(t, sharding.SlotConfig{Shards: weighted(12, 3), Owners: 3})
	n := routerOf[int](t, ints(t, all[int]("a")), sharding.Config{})
	keys, dst := keys(16), make([]sharding.Route, 16)
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() {
		var three [3]sharding.ID
		_, err := s.Owners(keys[1], three[:])
		_, err2 := s.Route(keys[0])
		_, err3 := s.Routes(keys, dst)
		_, err4 := n.Route(1)
		if err != nil || err2 != nil || err3 != nil || err4 != nil {
			t.Error(err, err2, err3, err4)
		}
	}))
}

func TestRoutesNameTheKeyThatFails(t *testing.T) {
	r := routerOf[int](t, ints(t, sharding.Between(0, 10, "a")), sharding.Config{})
	dst := make([]sharding.Route, 3)
	n, err := r.Routes([]int{1, 2, 77}, dst)
	assert.Equal(t, 2, n)
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	assert.Contains(t, err.Error(), "key 2: ")
	assert.Equal(t, sharding.ID("a"), dst[1].Shard)
	_, err = r.Routes([]int{1, 2}, dst[:1])
	assert.Contains(t, err.Error(), "room for 1")
}

// Events come in order of epochs, one at a time, from racing installers; a
// callback may look at the router and install.
func TestEventsComeInOrder(t *testing.T) {
	maps := [2]sharding.Map[int]{ints(t, all[int]("a")), ints(t, all[int]("b"))}
	var r *sharding.Router[int]
	var events []sharding.Event // written by one callback at a time
	r, err := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: maps[1]}, sharding.Config{OnEvent: func(e sharding.Event) {
		events = append(events, e)
		if e.Epoch == 50 {
			_ = r.Install(sharding.Topology[int]{Epoch: 1000, Map: maps[0]})
		}
	}})
	require.NoError(t, err)
	install(t, r, sharding.Topology[int]{Epoch: 50, Map: maps[0]})
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(100) {
				epoch := 1001 + 4*i + g
				_ = r.Install(sharding.Topology[int]{Epoch: epoch, Map: maps[epoch%2]})
			}
		})
	}
	wg.Wait()
	assert.Equal(t, sharding.Event{Epoch: 50, Previous: 1, Moved: 1}, events[0])
	last := uint64(1)
	for _, e := range events {
		require.Equal(t, last, e.Previous)
		require.True(t, e.Epoch > last)
		last = e.Epoch
	}
	assert.Equal(t, uint64(len(events)), r.Stats().Installs)
	assert.Equal(t, last, r.Stats().Epoch)
}

// A callback that panics loses no event and wedges nobody; one that blocks
// lets 1,024 events wait and then drops the oldest, and says so.
func TestBadCallbacksDoNotWedge(t *testing.T) {
	m := ints(t, all[int]("a"))
	var seen []uint64
	var r *sharding.Router[int]
	r, err := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: m}, sharding.Config{OnEvent: func(e sharding.Event) {
		seen = append(seen, e.Epoch)
		if e.Epoch == 2 {
			for epoch := uint64(3); epoch < 3+1024+10; epoch++ {
				install(t, r, sharding.Topology[int]{Epoch: epoch, Map: m})
			}
			panic("callback")
		}
	}})
	require.NoError(t, err)
	assert.Equal(t, "callback", assert.Panics(t, func() { _ = r.Install(sharding.Topology[int]{Epoch: 2, Map: m}) }))
	assert.Equal(t, 1025, len(seen))
	assert.Equal(t, uint64(13), seen[1])
	assert.Equal(t, uint64(10), r.Stats().EventsDropped)
	install(t, r, sharding.Topology[int]{Epoch: 5000, Map: m})
	assert.Equal(t, uint64(5000), seen[len(seen)-1])
}

func TestExplainTellsOfMoves(t *testing.T) {
	from := ints(t, sharding.Between(0, 100, "a"))
	to, _ := from.Split(50, "b")
	by := func(m *sharding.Ranges[int]) sharding.Map[string] {
		return sharding.By(func(s string) int { return len(s) * 30 }, sharding.Map[int](m))
	}
	r := routerOf(t, by(from), sharding.Config{})
	install(t, r, sharding.Topology[string]{Epoch: 4, Map: by(from), Mirror: by(to), Block: true})
	assert.Equal(t, "key \"xy\" at epoch 4\nthe key is taken by 60\nrange [0, 100) of 1\nowner 1 is a\n"+
		"route to a since epoch 4, moving: mirror b, reads it false, blocked true\n", r.Explain("xy"))
	assert.Contains(t, r.Explain("wxyz"), "no range holds the key: [100, +inf) has no owner\nno route\n")
	bucket, _ := sharding.Buckets(func(n int) int { return n }, "x")
	rb := routerOf(t, bucket, sharding.Config{})
	assert.Contains(t, rb.Explain(0), "bucket 0 of 1\nowner 1 is x\n")
	assert.Contains(t, rb.Explain(7), "key 7 has bucket 7 of 1\nno route\n")
	s := slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 4, Owners: 2, Assigned: []sharding.Range[int]{{Owner: "node-2"}}})
	assert.Contains(t, routerOf[string](t, s, sharding.Config{}).Explain("x"), "of 4\nthe slot is assigned by hand\nowner 1 is node-2\nowner 2 is ")
	assert.Equal(t, 5, strings.Count(fmt.Sprint(r.Explain("xy")), "\n"))
}
