package cacheredis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/redis/go-redis/v9"
)

func TestNewNamesWhatIsWrong(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	for _, c := range []struct {
		client redis.UniversalClient
		name   string
		config cacheredis.Config
		says   string
	}{
		{client, "", cacheredis.Config{}, "name"},
		{client, "A", cacheredis.Config{}, "name"},
		{client, "a:b", cacheredis.Config{}, "name"},
		{client, "{a}", cacheredis.Config{}, "name"},
		{client, strings.Repeat("a", 65), cacheredis.Config{}, "name"},
		{client, "a", cacheredis.Config{StreamLen: -1}, "StreamLen"},
		{client, "a", cacheredis.Config{WaitReplicas: -1}, "WaitReplicas"},
		{ring, "a", cacheredis.Config{}, "*redis.Ring"},
		{nil, "a", cacheredis.Config{}, "client"},
	} {
		_, err := cacheredis.New(c.client, c.name, c.config)
		require.Error(t, err)
		assert.Contains(t, err.Error(), c.says)
	}
	for _, name := range []string{"a", "a.b_c-9", strings.Repeat("z", 64)} {
		_, err := cacheredis.New(client, name, cacheredis.Config{})
		assert.NoError(t, err)
	}
}

// A client may come in another type that adds something to it.
type wrapped struct{ *redis.Client }

func TestWrappedClientsAreAccepted(t *testing.T) {
	s := open(t, wrapped{one(t)}, cacheredis.Config{})
	assert.True(t, put(t, s, cache.Fill{Key: "a", Data: []byte("x"), Version: 1}))
	done := invalidate(t, s, cache.Message{Keys: []string{"a"}})
	assert.Equal(t, done.Seq, subscribe(t, s, 0).next(t).Seq)
}

func TestStoresWithOtherNamesAreLeftAlone(t *testing.T) {
	client := one(t)
	a, b := open(t, client, cacheredis.Config{}), open(t, client, cacheredis.Config{})
	require.NoError(t, client.Set(t.Context(), "foreign", "x", 0).Err())
	before := generations(t, b, "t")
	require.True(t, put(t, b, cache.Fill{Key: "a", Data: []byte("x"), Version: 1}))
	invalidate(t, a, cache.Message{Keys: []string{"a"}, Tags: []string{"t"}, Clear: true})
	assert.Equal(t, before, generations(t, b, "t"))
	assert.Equal(t, uint64(1), look(t, b, "a").Version)
	assert.Equal(t, "x", client.Get(t.Context(), "foreign").Val(), "a Clear is a stamp")
}

func TestRoundTripsOnTheWire(t *testing.T) {
	var wire line
	client := redis.NewClient(&redis.Options{Addr: engine.Redis(t).Addr(), Dialer: wire.dial, ContextTimeoutEnabled: true})
	defer client.Close()
	countTrips(t, &wire, open(t, client, cacheredis.Config{}), 1)
}

func TestRoundTripsOnACluster(t *testing.T) {
	var wire line
	nodes := engine.RedisCluster(t, 3, 0)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{nodes[0].Addr()}, Dialer: wire.dial, ContextTimeoutEnabled: true,
	})
	defer client.Close()
	countTrips(t, &wire, open(t, client, cacheredis.Config{}), 3)
}

// countTrips counts with connections and scripts warm. Trips to several nodes go
// at the same time.
func countTrips(t *testing.T, wire *line, s *cacheredis.Store, nodes int64) {
	keys := make([]cache.Query, 100)
	fills := make([]cache.Fill, 100)
	for i := range keys {
		keys[i].Key = fmt.Sprint("key ", i)
		fills[i] = cache.Fill{Key: keys[i].Key, Data: make([]byte, 100), Version: 1}
	}
	get := func(n int, lease time.Duration) func() {
		return func() {
			_, err := s.Get(t.Context(), keys[:n], lease)
			require.NoError(t, err)
		}
	}
	fill := func(n int) func() {
		return func() {
			_, err := s.Put(t.Context(), fills[:n])
			require.NoError(t, err)
		}
	}
	send := func(m cache.Message) func() { return func() { invalidate(t, s, m) } }
	second := min(nodes, 2) // on a Cluster records and message go apart
	for _, c := range []struct {
		what string
		most int64
		do   func()
	}{
		{"hit", 1, get(1, 0)},
		{"miss", 1, get(1, time.Minute)},
		{"fill", 1, fill(1)},
		{"hits of 100 keys", nodes, get(100, 0)},
		{"misses of 100 keys", nodes, get(100, time.Minute)},
		{"fills of 100 keys", nodes, fill(100)},
		{"invalidation of a key", second, send(cache.Message{Keys: []string{"key 1"}})},
		{"soft invalidation of a key", second, send(cache.Message{Keys: []string{"key 1"}, Soft: true})},
		{"invalidation of tags", 1, send(cache.Message{Tags: []string{"t", "u"}})},
		{"clear", 1, send(cache.Message{Clear: true})},
		{"generations", 1, func() { generations(t, s, "t", "u", "v") }},
		{"publish", 1, func() { require.NoError(t, s.Publish(t.Context(), cache.Message{Keys: []string{"a"}})) }},
	} {
		c.do() // dials, and loads scripts
		c.do()
		assert.Equal(t, c.most, wire.take(c.do), "%s", c.what)
	}
}

// T46: in the middle of a pipeline too, and without running anything twice.
func TestUnknownScriptsAreSentAgain(t *testing.T) {
	nodes := engine.RedisCluster(t, 3, 0)
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}})
	defer cluster.Close()
	for name, client := range map[string]redis.UniversalClient{"one node": one(t), "cluster": cluster} {
		t.Run(name, func(t *testing.T) {
			s := open(t, client, cacheredis.Config{})
			forget := func() {
				if cluster == client {
					require.NoError(t, cluster.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error {
						return c.ScriptFlush(ctx).Err()
					}))
					return
				}
				require.NoError(t, client.ScriptFlush(t.Context()).Err())
			}
			queries := make([]cache.Query, 300)
			fills := make([]cache.Fill, len(queries))
			for i := range queries {
				queries[i].Key = fmt.Sprint("key ", i)
			}
			forget()
			records, err := s.Get(t.Context(), queries, time.Minute)
			require.NoError(t, err)
			for i, r := range records {
				require.True(t, r.Token != 0, "key %d is leased once, to us: %+v", i, r)
				fills[i] = cache.Fill{Key: queries[i].Key, Data: []byte(queries[i].Key), Version: 1, Token: r.Token}
			}
			forget()
			stored, err := s.Put(t.Context(), fills)
			require.NoError(t, err)
			for i, ok := range stored {
				require.True(t, ok, "fill %d", i)
			}
			forget()
			first := invalidate(t, s, cache.Message{Keys: []string{"key 1"}, Tags: []string{"t"}})
			forget()
			require.NoError(t, s.Publish(t.Context(), cache.Message{Clear: true}))
			forget()
			assert.Equal(t, first.Generation, generations(t, s, "t").Tags[0])
			forget()
			assert.Equal(t, first.Seq+1, subscribe(t, s, 0).next(t).Seq, "each was published once")
		})
	}
}

// T47: nobody knows which tags the lost stamps were on.
func TestLostStampsAreAClear(t *testing.T) {
	client := one(t)
	for name, lose := range map[string]func(tags string) error{
		"evicted": func(tags string) error { return client.Del(t.Context(), tags).Err() },
		"flushed": func(string) error { return client.FlushAll(t.Context()).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			name := newName()
			s, err := cacheredis.New(client, name, cacheredis.Config{})
			require.NoError(t, err)
			for range 20 { // faster than the clock: the counter runs ahead of it
				invalidate(t, s, cache.Message{Tags: []string{"t"}})
			}
			before := generations(t, s, "t")
			require.NoError(t, lose("{"+name+"}:tags"))
			after := generations(t, s, "t")
			assert.True(t, after.Clear > before.Now, "from %+v to %+v", before, after)
			assert.True(t, after.Now >= after.Clear)
			assert.Equal(t, uint64(0), after.Tags[0])
			assert.Equal(t, after, generations(t, s, "t"), "once")

			require.NoError(t, lose("{"+name+"}:tags"))
			done := invalidate(t, s, cache.Message{Tags: []string{"u"}})
			g := generations(t, s, "t", "u")
			assert.True(t, g.Clear > after.Now, "an invalidation that finds them gone is a Clear too: %+v", g)
			assert.Equal(t, done.Generation, g.Tags[1])
		})
	}
}

func TestStampsOfTagsLastEightDaysAndThoseOfClearForEver(t *testing.T) {
	client, name := one(t), newName()
	s, err := cacheredis.New(client, name, cacheredis.Config{})
	require.NoError(t, err)
	clear := invalidate(t, s, cache.Message{Tags: []string{"old", "kept"}, Clear: true}).Generation
	age := func(member string, by time.Duration) uint64 {
		stamp := clear - uint64(by.Microseconds())
		require.NoError(t, client.ZAdd(t.Context(), "{"+name+"}:tags", redis.Z{Score: float64(stamp), Member: member}).Err())
		return stamp
	}
	const day = 24 * time.Hour
	age("told", 8*day+time.Hour)
	kept := age("tkept", 8*day-time.Hour)
	cleared := age("clear", 9*day)
	invalidate(t, s, cache.Message{Tags: []string{"new"}})
	g := generations(t, s, "old", "kept")
	assert.Equal(t, cleared, g.Clear)
	assert.Equal(t, []uint64{0, kept}, g.Tags)
}

// T14: the counter is ahead of a clock that was set back.
func TestCounterRisesWhateverTheClockSays(t *testing.T) {
	client, name := one(t), newName()
	s, err := cacheredis.New(client, name, cacheredis.Config{})
	require.NoError(t, err)
	first := invalidate(t, s, cache.Message{Tags: []string{"t"}}).Generation
	ahead := first + uint64(time.Hour.Microseconds())
	require.NoError(t, client.ZAdd(t.Context(), "{"+name+"}:tags", redis.Z{Score: float64(ahead), Member: "now"}).Err())
	second := invalidate(t, s, cache.Message{Tags: []string{"t"}}).Generation
	assert.True(t, second > ahead, "%d comes after %d", second, ahead)
	assert.Equal(t, second, generations(t, s, "t").Tags[0])
	assert.Equal(t, second+1, invalidate(t, s, cache.Message{Clear: true}).Generation)
}

func TestForeignBytesUnderAKeyAreAMiss(t *testing.T) {
	client, name := one(t), newName()
	s, err := cacheredis.New(client, name, cacheredis.Config{})
	require.NoError(t, err)
	for i, raw := range []string{"", "x", strings.Repeat("x", 40), strings.Repeat("x", 41), strings.Repeat("\xff", 100), "\x01" + strings.Repeat("\x00", 60)} {
		key := fmt.Sprint("key ", i)
		require.NoError(t, client.Set(t.Context(), name+":"+key, raw, 0).Err())
		got := look(t, s, key)
		assert.Equal(t, uint64(0), got.Version)
		assert.Nil(t, got.Data)
		if i == 5 { // a value with the version 0, which nobody stores
			require.True(t, put(t, s, cache.Fill{Key: key, Data: []byte("y"), Version: 2}))
			continue
		}
		token := claim(t, s, key, time.Minute)
		require.True(t, put(t, s, cache.Fill{Key: key, Data: []byte("y"), Version: 2, Token: token}))
		assert.Equal(t, "y", string(look(t, s, key).Data))
	}
}

// T49: what the store uses beside the client is gone with the cache, and the
// client is as before.
func TestClientIsTheCallers(t *testing.T) {
	client := one(t)
	s := open(t, client, cacheredis.Config{})
	c, err := cache.New(cache.Config[string, string]{Remote: s, Bus: s})
	require.NoError(t, err)
	require.NoError(t, c.Set(t.Context(), "a", "x"))
	eventually(t, "the cache is linked", func() bool { return c.Stats().Linked })
	require.Equal(t, 1, beside(t, client), "a subscription has a connection of its own")
	require.NoError(t, c.Close())
	assert.Equal(t, "PONG", client.Ping(t.Context()).Val())
	eventually(t, "the connection of the subscription is closed", func() bool { return beside(t, client) == 0 })
}

// T49, for a subscription that nobody has ended: its caller's ctx lives on. The
// test keeps the connections, or the collector would close them.
func TestSubscriptionThatEndsByItselfClosesItsConnections(t *testing.T) {
	for name, c := range map[string]cacheredis.Config{"stream": {}, "pubsub": {PubSub: true}} {
		t.Run(name, func(t *testing.T) {
			direct, name := one(t), newName()
			var o owner
			client := redis.NewClient(&redis.Options{Addr: direct.Options().Addr, Dialer: o.dial})
			defer client.Close()
			s, err := cacheredis.New(client, name, c)
			require.NoError(t, err)
			h := subscribe(t, s, 0)
			head := h.next(t).Seq
			require.True(t, o.open() > 0)
			if c.PubSub {
				require.NoError(t, direct.Publish(t.Context(), "{"+name+"}:channel", "of another version").Err())
			} else {
				require.NoError(t, direct.XAdd(t.Context(), &redis.XAddArgs{
					Stream: "{" + name + "}:bus", ID: fmt.Sprintf("%d-0", head+1), Values: []string{"g", "0", "m", ""},
				}).Err())
			}
			require.Error(t, h.end(t))
			assert.Equal(t, 0, o.open())
		})
	}
}

// beside is how many connections the server of client has that are not client's.
func beside(t *testing.T, client *redis.Client) int {
	t.Helper()
	clients, err := client.ClientList(t.Context()).Result()
	require.NoError(t, err)
	return strings.Count(clients, "\n") - int(client.PoolStats().TotalConns)
}

// Leases that were granted where nothing was are looked at together; what has come
// there since, or gone, is still told apart.
func TestFillsThatComeTogetherAreJudgedOneByOne(t *testing.T) {
	s := open(t, one(t), cacheredis.Config{})
	var fills []cache.Fill
	for i, key := range []string{"kept", "set since", "invalidated", "kept, too"} {
		token := claim(t, s, key, time.Minute)
		fills = append(fills, cache.Fill{Key: key, Data: []byte("filled"), Version: uint64(i + 1), Token: token})
	}
	require.True(t, put(t, s, cache.Fill{Key: "set since", Data: []byte("newer"), Version: 9}))
	invalidate(t, s, cache.Message{Keys: []string{"invalidated"}})
	stored, err := s.Put(t.Context(), fills)
	require.NoError(t, err)
	assert.Equal(t, []bool{true, false, false, true}, stored)
	assert.Equal(t, "newer", string(look(t, s, "set since").Data))
	assert.Equal(t, uint64(0), look(t, s, "invalidated").Version)
	assert.Equal(t, "filled", string(look(t, s, "kept, too").Data))
}
