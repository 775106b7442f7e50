package main

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/internal/engine"
)

// cacheRedisRows need a Redis server, which the first of them starts.
func cacheRedisRows() []row {
	return []row{
		{
			name:   "cache on Redis: hit in L1",
			ours:   localHit,
			allocs: 0,
			peers: []peer{
				{"rueidis v1.0.79, DoCache", rueidisHit, 0},
				{"go-redis/cache v9.0.0, TinyLFU", goredisLocalHit, 0},
			},
		},
		{
			name:   "cache on Redis: hit in L2, one trip, p50",
			p50:    true,
			ours:   remoteHit,
			allocs: 54,
			peers: []peer{
				{"floor: go-redis v9.23.0, one EVALSHA", evalHit, 1.2},
				{"go-redis/cache v9.0.0", goredisHit, 0},
			},
		},
		{
			name:   "cache on Redis: miss, load and fill, two trips, p50",
			p50:    true,
			ours:   miss,
			allocs: 90,
			peers: []peer{
				{"floor: go-redis v9.23.0, EVALSHA twice", evalTwice, 1.5},
				{"go-redis/cache v9.0.0, Once: no lease", goredisOnce, 0},
			},
		},
		{
			name:   "cache on Redis: GetMany of 100, half in L2",
			ours:   getMany,
			allocs: 1200,
			peers: []peer{
				{"floor: one pipeline of 100 GET, one of 50 SET", pipelines, 1.3},
				{"floor: two scripts that claim and fill what is missing", claims, 0},
			},
		},
		{
			name:   "cache on Redis: Invalidate until the last of 8 nodes has it",
			ours:   invalidateAll,
			allocs: 1000,
			peers:  []peer{{"floor: XADD until the last of 8 XREAD", xaddAll, 3}},
		},
	}
}

// server is the one that all contenders use. Nothing is written to its disk,
// whose syncs would hide what is compared.
var server = sync.OnceValues(func() (string, error) {
	s, err := engine.StartRedis(context.Background(), "")
	if err != nil {
		return "", err
	}
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer client.Close()
	return s.Addr(), client.ConfigSet(context.Background(), "appendonly", "no").Err()
})

func redisClient(b *testing.B) *redis.Client {
	addr, err := server()
	if err != nil {
		b.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	b.Cleanup(func() { client.Close() })
	if err := client.FlushAll(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	return client
}

// cold is how many keys are in Redis, far more than in an L1 of 16.
const cold = 4096

var coldValue = string(make([]byte, 100))

func coldKey(i int) string { return "key " + strconv.Itoa(i%cold) }

func layered(b *testing.B, client *redis.Client, c cache.Config[string, string]) *cache.Cache[string, string] {
	store, err := cacheredis.New(client, "bench", cacheredis.Config{})
	if err != nil {
		b.Fatal(err)
	}
	c.Remote, c.Bus = store, store
	if c.Load == nil {
		c.Load = func(context.Context, string) (string, error) { return coldValue, nil }
	}
	n, err := cache.New(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	for !n.Stats().Linked {
		time.Sleep(time.Millisecond)
	}
	return n
}

func get(b *testing.B, c *cache.Cache[string, string], key string) {
	if _, err := c.Get(b.Context(), key); err != nil {
		b.Fatal(err)
	}
}

func localHit(b *testing.B) {
	c := layered(b, redisClient(b), cache.Config[string, string]{Policy: cache.Policy{TTL: time.Hour}})
	get(b, c, "a")
	for b.Loop() {
		if _, err := c.Get(b.Context(), "a"); err != nil {
			b.Fatal(err)
		}
	}
}

func remoteHit(b *testing.B) {
	c := layered(b, redisClient(b), cache.Config[string, string]{MaxEntries: 16, Policy: cache.Policy{TTL: time.Hour}})
	for i := range cold {
		get(b, c, coldKey(i))
	}
	loads := c.Stats().Loads
	timed(b, func(i int) { get(b, c, coldKey(i)) })
	if got := c.Stats().Loads; got != loads {
		b.Fatalf("%d loads: not all were hits", got-loads)
	}
}

// number makes keys that were never asked for.
var number int

func newKey() string {
	number++
	return "new " + strconv.Itoa(number)
}

func miss(b *testing.B) {
	c := layered(b, redisClient(b), cache.Config[string, string]{MaxEntries: 16, Policy: cache.Policy{TTL: time.Hour}})
	timed(b, func(int) { get(b, c, newKey()) })
}

func getMany(b *testing.B) {
	c := layered(b, redisClient(b), cache.Config[string, string]{
		MaxEntries: 16, Policy: cache.Policy{TTL: time.Hour},
		LoadMany: func(_ context.Context, keys []string) (map[string]string, error) {
			values := make(map[string]string, len(keys))
			for _, key := range keys {
				values[key] = coldValue
			}
			return values, nil
		},
	})
	for i := range cold {
		get(b, c, coldKey(i))
	}
	i := 0
	for b.Loop() {
		keys := make([]string, 100)
		for j := range 50 {
			keys[2*j], keys[2*j+1] = coldKey(i), newKey()
			i++
		}
		if got, err := c.GetMany(b.Context(), keys); err != nil || len(got) != 100 {
			b.Fatal(len(got), err)
		}
	}
}

const nodesOfBench = 8

func invalidateAll(b *testing.B) {
	removed := make(chan struct{}, 100)
	var nodes []*cache.Cache[string, string]
	for range nodesOfBench {
		nodes = append(nodes, layered(b, redisClient(b), cache.Config[string, string]{
			Policy:   cache.Policy{TTL: time.Hour},
			OnRemove: func(string, string) { removed <- struct{}{} },
		}))
	}
	for _, n := range nodes { // the flush of the last client has reached all
		for !n.Stats().Linked {
			time.Sleep(time.Millisecond)
		}
	}
	time.Sleep(time.Second)
	for len(removed) > 0 {
		<-removed
	}
	for b.Loop() {
		b.StopTimer()
		key := newKey()
		for _, n := range nodes {
			get(b, n, key)
		}
		b.StartTimer()
		if err := nodes[0].Invalidate(b.Context(), key); err != nil {
			b.Fatal(err)
		}
		for range nodes {
			<-removed
		}
	}
}

func xaddAll(b *testing.B) {
	read := make(chan error, 100)
	ctx, cancel := context.WithCancel(b.Context())
	var group sync.WaitGroup
	b.Cleanup(func() { cancel(); group.Wait() })
	client := redisClient(b)
	for range nodesOfBench {
		group.Go(func() {
			last := "0"
			for ctx.Err() == nil {
				streams, err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{"bench", last}, Block: 100 * time.Millisecond}).Result()
				if err != nil {
					continue
				}
				for _, m := range streams[0].Messages {
					last = m.ID
					read <- nil
				}
			}
		})
	}
	for b.Loop() {
		if err := client.XAdd(ctx, &redis.XAddArgs{Stream: "bench", Values: []string{"m", "key"}}).Err(); err != nil {
			b.Fatal(err)
		}
		for range nodesOfBench {
			<-read
		}
	}
}

func coldRedis(b *testing.B) *redis.Client {
	client := redisClient(b)
	for i := range cold {
		if err := client.Set(b.Context(), coldKey(i), coldValue, time.Hour).Err(); err != nil {
			b.Fatal(err)
		}
	}
	return client
}

func evalHit(b *testing.B) {
	client, script := coldRedis(b), redis.NewScript(`return redis.call('GET', KEYS[1])`)
	timed(b, func(i int) {
		if got, err := script.Run(b.Context(), client, []string{coldKey(i)}).Text(); err != nil || got != coldValue {
			b.Fatal(err)
		}
	})
}

func evalTwice(b *testing.B) {
	client := redisClient(b)
	lease, fill := redis.NewScript(`return redis.call('SET', KEYS[1], ARGV[1], 'PX', 1000, 'NX')`), redis.NewScript(`return redis.call('SET', KEYS[1], ARGV[1], 'EX', 3600)`)
	timed(b, func(int) {
		key := []string{newKey()}
		if err := lease.Run(b.Context(), client, key, "token").Err(); err != nil {
			b.Fatal(err)
		}
		if err := fill.Run(b.Context(), client, key, coldValue).Err(); err != nil {
			b.Fatal(err)
		}
	})
}

// claims does what no lookup with leases can do without, in as little Lua as it
// takes: 100 are read and the 50 that are not there claimed, then those are written if
// the claims still stand.
func claims(b *testing.B) {
	client, ctx := redisClient(b), b.Context()
	for i := range cold {
		if err := client.Set(ctx, coldKey(i), coldValue, time.Hour).Err(); err != nil {
			b.Fatal(err)
		}
	}
	read := redis.NewScript(`
local found = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if not found[i] then redis.call('SET', KEYS[i], ARGV[1], 'PXAT', ARGV[2]) end
end
return found`)
	fill := redis.NewScript(`
local found = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if found[i] == ARGV[1] then redis.call('SET', KEYS[i], ARGV[2 + i], 'PXAT', ARGV[2]) end
end
return #KEYS`)
	claim, ends := string(make([]byte, 41)), time.Now().Add(time.Hour).UnixMilli()
	i := 0
	for b.Loop() {
		keys, missing, args := make([]string, 100), make([]string, 50), []any{claim, ends}
		for j := range 50 {
			keys[2*j], keys[2*j+1] = coldKey(i), newKey()
			missing[j] = keys[2*j+1]
			args = append(args, coldValue)
			i++
		}
		found, err := read.Run(ctx, client, keys, claim, ends).Slice()
		if err != nil || len(found) != 100 {
			b.Fatal(len(found), err)
		}
		if err := fill.Run(ctx, client, missing, args...).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

func pipelines(b *testing.B) {
	client := coldRedis(b)
	i := 0
	for b.Loop() {
		pipe := client.Pipeline()
		absent := make([]string, 50)
		for j := range 50 {
			absent[j] = newKey()
			pipe.Get(b.Context(), coldKey(i))
			pipe.Get(b.Context(), absent[j])
			i++
		}
		if _, err := pipe.Exec(b.Context()); err != nil && err != redis.Nil { //nolint:errorlint // as it is
			b.Fatal(err)
		}
		for _, key := range absent {
			pipe.Set(b.Context(), key, coldValue, time.Hour)
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
