package sharding_test

import (
	"math/bits"
	"reflect"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// T42: a Route is four words: two of the string, the epoch, the pointer.
func TestRouteIsFourWords(t *testing.T) {
	fields := reflect.TypeFor[sharding.Route]()
	assert.Equal(t, 3, fields.NumField())
	if bits.UintSize == 64 {
		assert.Equal(t, uintptr(4*8), fields.Size())
	}
}

func TestSinceIsTheLastChangeOfThePart(t *testing.T) {
	m := ints(t, sharding.Between(0, 100, "a"))
	r := routerOf[int](t, m, sharding.Config{})
	install(t, r, sharding.Topology[int]{Epoch: 5, Map: m})
	assert.Equal(t, uint64(1), route(t, r, 10).Since(), "nothing changed")

	split, err := m.Split(50, "")
	require.NoError(t, err)
	install(t, r, sharding.Topology[int]{Epoch: 6, Map: split})
	assert.Equal(t, uint64(1), route(t, r, 60).Since(), "a cut changes no owner")

	moved, err := split.Move(sharding.Between(70, 90, "b"))
	require.NoError(t, err)
	install(t, r, sharding.Topology[int]{Epoch: 7, Map: moved})
	for key, want := range map[int]uint64{10: 1, 69: 1, 70: 7, 89: 7, 90: 1} {
		rt := route(t, r, key)
		assert.Equal(t, want, rt.Since(), "key %d", key)
		assert.Equal(t, uint64(7), rt.Epoch)
	}

	back, err := moved.Move(sharding.Between(70, 90, "a"))
	require.NoError(t, err)
	install(t, r, sharding.Topology[int]{Epoch: 8, Map: back})
	for _, at := range []int{50, 70, 90} {
		back, err = back.Merge(at)
		require.NoError(t, err)
	}
	install(t, r, sharding.Topology[int]{Epoch: 9, Map: back})
	assert.Equal(t, uint64(8), route(t, r, 10).Since(), "the whole range is as young as its youngest piece")
}

// Moving keys have a mirror; their reads and block change only their own age.
func TestMirrorMarksMovingKeys(t *testing.T) {
	from := ints(t, sharding.Between(0, 100, "a"))
	to, err := from.Move(sharding.Between(40, 60, "b"))
	require.NoError(t, err)
	r := routerOf[int](t, from, sharding.Config{})
	for _, step := range []struct {
		topology sharding.Topology[int]
		want     func(rt sharding.Route) bool
	}{
		{sharding.Topology[int]{Epoch: 2, Map: from, Mirror: to}, func(rt sharding.Route) bool {
			return rt.Shard == "a" && rt.Mirror() == "b" && rt.Reader() == "a" && !rt.Blocked()
		}},
		{sharding.Topology[int]{Epoch: 3, Map: from, Mirror: to, ReadMirror: true}, func(rt sharding.Route) bool {
			return rt.Shard == "a" && rt.Mirror() == "b" && rt.Reader() == "b" && !rt.Blocked()
		}},
		{sharding.Topology[int]{Epoch: 4, Map: from, Mirror: to, ReadMirror: true, Block: true}, func(rt sharding.Route) bool {
			return rt.Shard == "a" && rt.Mirror() == "b" && rt.Blocked()
		}},
		{sharding.Topology[int]{Epoch: 5, Map: to, Mirror: from, Block: true}, func(rt sharding.Route) bool {
			return rt.Shard == "b" && rt.Mirror() == "a" && rt.Reader() == "b" && rt.Blocked()
		}},
		{sharding.Topology[int]{Epoch: 6, Map: to}, func(rt sharding.Route) bool {
			return rt.Shard == "b" && rt.Mirror() == "" && rt.Reader() == "b" && !rt.Blocked()
		}},
	} {
		install(t, r, step.topology)
		rt := route(t, r, 50)
		assert.True(t, step.want(rt), "epoch %d: %+v", step.topology.Epoch, rt)
		assert.Equal(t, step.topology.Epoch, rt.Since())
		for _, key := range []int{39, 60} {
			still := route(t, r, key)
			assert.Equal(t, uint64(1), still.Since(), "key %d does not move", key)
			assert.True(t, still.Mirror() == "" && !still.Blocked() && still.Reader() == "a")
		}
	}
}

func TestMirrorMustFitTheMap(t *testing.T) {
	slots16 := slots(t, sharding.SlotConfig{Shards: shards(2), Slots: 16})
	slots32 := slots(t, sharding.SlotConfig{Shards: shards(2), Slots: 32})
	texts, err := sharding.NewRanges(all[string]("a"))
	require.NoError(t, err)
	bucket := func(string) int { return 0 }
	one, _ := sharding.Buckets(bucket, "a")
	two, _ := sharding.Buckets(bucket, "a", "b")
	pinX, _ := sharding.Pin(map[string]sharding.ID{"x": "a"}, sharding.Map[string](slots16))
	pinY, _ := sharding.Pin(map[string]sharding.ID{"y": "a"}, sharding.Map[string](slots16))
	pinOf32, _ := sharding.Pin(map[string]sharding.ID{"x": "a"}, sharding.Map[string](slots32))
	by := sharding.By(func(s string) string { return s }, sharding.Map[string](slots16))
	byLen := sharding.By(func(s string) int { return len(s) }, sharding.Map[int](ints(t, all[int]("a"))))
	for want, pair := range map[string][2]sharding.Map[string]{
		"it is Ranges, not Slots":              {slots16, texts},
		"it has 32 slots, not 16":              {slots16, slots32},
		"it is Slots, not Ranges":              {texts, slots16},
		"it has 2 buckets, not 1":              {one, two},
		"it is Pin, not Buckets":               {one, pinX},
		"it has other pins":                    {pinX, pinY},
		"it is Slots, not Pin":                 {pinX, slots16},
		"it has 32 slots, not 16.":             {pinX, pinOf32},
		"it is By, not By of the same type":    {by, byLen},
		"it is Buckets, not By of the same ty": {by, one},
	} {
		_, err := sharding.NewRouter(sharding.Topology[string]{Epoch: 1, Map: pair[0], Mirror: pair[1]}, sharding.Config{})
		require.Error(t, err, want)
		assert.Contains(t, err.Error()+".", want)
		r := routerOf(t, pair[0], sharding.Config{})
		assert.Error(t, r.Install(sharding.Topology[string]{Epoch: 2, Map: pair[0], Mirror: pair[1]}))
		// As the next map, another kind is fine and gives the new epoch to all.
		install(t, r, sharding.Topology[string]{Epoch: 3, Map: pair[1]})
		assert.Equal(t, uint64(1), r.Stats().Refused)
	}
}

// T25: epoch 0 is "unknown" and never valid.
func TestInvalidTopologies(t *testing.T) {
	m := ints(t, all[int]("a"))
	_, err := sharding.NewRouter(sharding.Topology[int]{Map: m}, sharding.Config{})
	assert.Contains(t, err.Error(), "Epoch is 0")
	_, err = sharding.NewRouter(sharding.Topology[int]{Epoch: 1}, sharding.Config{})
	assert.Contains(t, err.Error(), "Map is nil")
	_, err = sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: m}, sharding.Config{Poll: -1})
	assert.Contains(t, err.Error(), "Config.Poll")
	r := routerOf[int](t, m, sharding.Config{})
	assert.Contains(t, r.Install(sharding.Topology[int]{Map: m}).Error(), "Epoch is 0")
	assert.Equal(t, uint64(1), r.Topology().Epoch)
}

// Pins come and go without aging the keys that keep their owner.
func TestPinsAgeOnlyWhatTheyMove(t *testing.T) {
	rest := slots(t, sharding.SlotConfig{Shards: shards(1)})
	pin := func(pins map[string]sharding.ID) sharding.Map[string] {
		m, err := sharding.Pin(pins, sharding.Map[string](rest))
		require.NoError(t, err)
		return m
	}
	r := routerOf(t, pin(map[string]sharding.ID{"x": "vip", "y": "node-0"}), sharding.Config{})
	install(t, r, sharding.Topology[string]{Epoch: 2, Map: pin(map[string]sharding.ID{"x": "vip", "z": "vip", "w": "node-0"})})
	rt := route(t, r, "z")
	assert.Equal(t, uint64(2), rt.Since(), "z moved")
	for _, key := range []string{"x", "y", "w", "other"} {
		rt := route(t, r, key)
		assert.Equal(t, uint64(1), rt.Since(), key)
	}
	install(t, r, sharding.Topology[string]{Epoch: 3, Map: pin(nil)})
	rt = route(t, r, "x")
	assert.Equal(t, uint64(3), rt.Since(), "x moved back")
}
