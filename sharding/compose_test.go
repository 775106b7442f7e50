package sharding_test

import (
	"math"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// T12: a bucket outside the owners is no owner, not a panic.
func TestBucketsOutsideTheOwners(t *testing.T) {
	m, err := sharding.Buckets(func(n int) int { return n }, "a", "b", "a")
	require.NoError(t, err)
	assert.Equal(t, []sharding.ID{"a", "b"}, m.Shards())
	r := routerOf(t, m, sharding.Config{})
	for _, key := range []int{-1, 3, math.MinInt, math.MaxInt} {
		_, err := m.Owner(key)
		assert.ErrorIs(t, err, sharding.ErrNoOwner)
		_, err = r.Route(key)
		assert.ErrorIs(t, err, sharding.ErrNoOwner)
		n, err := m.Owners(key, nil)
		assert.Equal(t, 0, n)
		assert.NoError(t, err)
	}
	assert.Equal(t, sharding.ID("a"), route(t, r, 2).Shard)
	_, err = sharding.Buckets(func(int) int { return 0 }, "a", "", "b\n")
	assert.Contains(t, err.Error(), "owner of bucket 1: shard ID is empty")
	assert.Contains(t, err.Error(), "owner of bucket 2")
	_, err = sharding.Buckets[int](nil, "a")
	assert.Error(t, err)
	_, err = sharding.Buckets(func(int) int { return 0 })
	assert.Error(t, err)
}

func TestPinsWin(t *testing.T) {
	rest := ints(t, sharding.Between(0, 100, "rest"))
	pins := map[int]sharding.ID{7: "vip", 500: "far"}
	m, err := sharding.Pin(pins, sharding.Map[int](rest))
	require.NoError(t, err)
	pins[7], pins[8] = "changed", "changed" // T41
	for key, want := range map[int]sharding.ID{7: "vip", 8: "rest", 500: "far"} {
		id, err := m.Owner(key)
		require.NoError(t, err)
		assert.Equal(t, want, id)
		dst := make([]sharding.ID, 1)
		n, err := m.Owners(key, dst)
		require.NoError(t, err)
		assert.Equal(t, want, dst[0])
		assert.Equal(t, 1, n)
	}
	assert.Equal(t, []sharding.ID{"far", "rest", "vip"}, m.Shards())
	_, err = m.Owner(501)
	assert.ErrorIs(t, err, sharding.ErrNoOwner)

	list, err := sharding.Pin(map[string]sharding.ID{"de": "eu", "us": "us"}, nil)
	require.NoError(t, err)
	_, err = list.Owner("fr")
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	assert.Contains(t, err.Error(), `key "fr" is not pinned`)
	_, err = sharding.Pin(map[string]sharding.ID{"b": "", "a": "x\x00"}, nil)
	assert.Contains(t, err.Error(), `pin of "a"`)
	assert.Contains(t, err.Error(), `pin of "b"`)
	_, err = sharding.Pin(map[float64]sharding.ID{math.NaN(): "x"}, nil)
	assert.Contains(t, err.Error(), "NaN")
}

func TestByLooksAtAPart(t *testing.T) {
	assert.Panics(t, func() { sharding.By[int, int](nil, sharding.Map[int](ints(t, all[int]("a")))) })
	assert.Panics(t, func() { sharding.By(func(int) int { return 0 }, nil) })
	by := sharding.By(func(s string) int { return len(s) }, sharding.Map[int](ints(t, sharding.Between(1, 3, "a"), sharding.Between(3, 9, "b"))))
	r := routerOf(t, by, sharding.Config{})
	assert.Equal(t, sharding.ID("a"), route(t, r, "xy").Shard)
	assert.Equal(t, sharding.ID("b"), route(t, r, "xyz").Shard)
	_, err := r.Route("")
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	assert.Equal(t, []sharding.ID{"a", "b"}, by.Shards())
	n, err := by.Owners("xy", make([]sharding.ID, 1))
	assert.Equal(t, 1, n)
	assert.NoError(t, err)
}

// The errors say whether another try can help.
func TestRetryable(t *testing.T) {
	for err, want := range map[error]bool{
		sharding.ErrNoOwner: false, sharding.ErrGap: false, sharding.ErrOverlap: false, sharding.ErrConflict: false,
		sharding.ErrStale: true, sharding.ErrBlocked: true, &sharding.MovedError{}: true,
	} {
		assert.Equal(t, want, err.(interface{ Retryable() bool }).Retryable(), err.Error())
	}
	moved := &sharding.MovedError{To: "x", Epoch: 3}
	assert.ErrorIs(t, moved, sharding.ErrStale)
	assert.NotErrorIs(t, moved, sharding.ErrBlocked)
	assert.Equal(t, "sharding: moved to x at epoch 3", moved.Error())
	assert.Equal(t, "sharding: moved to an unknown shard at epoch 3", (&sharding.MovedError{Epoch: 3}).Error())
}

func TestRouteText(t *testing.T) {
	r := routerOf[int](t, ints(t, all[int]("users.eu-1")), sharding.Config{})
	install(t, r, sharding.Topology[int]{Epoch: 12, Map: ints(t, all[int]("users.eu-1"))})
	text, err := route(t, r, 1).MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "12.1.users.eu-1", string(text))
	var got sharding.Route
	require.NoError(t, got.UnmarshalText(text))
	assert.Equal(t, uint64(12), got.Epoch)
	assert.Equal(t, uint64(1), got.Since())
	assert.Equal(t, sharding.ID("users.eu-1"), got.Shard)
	assert.Equal(t, sharding.ID("users.eu-1"), got.Reader())
	for _, bad := range []string{"", ".", "1", "1.1", "1.1.", "1.2.x", "01.1.x", "+1.1.x", "-1.0.x", "1.1.x\n", "x.1.y", "1..x", "99999999999999999999.1.x"} {
		before := got
		assert.Error(t, got.UnmarshalText([]byte(bad)), bad)
		assert.True(t, before == got, "%q changed the route", bad)
	}
	_, err = sharding.Route{}.MarshalText()
	assert.Error(t, err)
	assert.Equal(t, uint64(9), sharding.Route{Shard: "x", Epoch: 9}.Since())
	assert.Equal(t, sharding.ID(""), sharding.Route{}.Mirror())
}

func FuzzRouteText(f *testing.F) {
	for _, seed := range []string{"12.1.users", "0.0.x", "1.1.a.b", "1.2.x", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var rt sharding.Route
		if rt.UnmarshalText(text) != nil {
			return
		}
		again, err := rt.MarshalText()
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	})
}
