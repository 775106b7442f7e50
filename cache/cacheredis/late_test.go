package cacheredis

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/redis/go-redis/v9"
)

// T43: a Get that go-redis sent twice, whose first copy comes last: after an
// invalidation it must not grant the token again that the second copy has got.
func TestLateCopyOfAGetDoesNotBringItsTokenBack(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: engine.Redis(t).Addr()})
	defer client.Close()
	s, err := New(client, "late", Config{})
	require.NoError(t, err)
	queries, asker := []cache.Query{{Key: "a"}}, drawAsker()
	get := func() uint64 {
		c := newCall(getScript, 1, 3)
		who := binary.BigEndian.AppendUint64(nil, asker)[:5]
		c.add("late:a", wholeMillis(time.Minute)*1000, who, encodeQueries(queries))
		require.NoError(t, s.conn.run(t.Context(), []*call{c}))
		records := make([]cache.Record, 1)
		require.NoError(t, c.records(queries, asker, true, records))
		return records[0].Token
	}
	token := get()
	_, err = s.Invalidate(t.Context(), cache.Message{Keys: []string{"a"}})
	require.NoError(t, err)
	late := get()
	require.True(t, late != 0 && late != token, "tokens %x, %x", token, late)
	stored, err := s.Put(t.Context(), []cache.Fill{{Key: "a", Data: []byte("old"), Version: 1, Token: token}})
	require.NoError(t, err)
	assert.False(t, stored[0], "the fill was fenced")
}

// Leases that are granted together have equal headers, of which put.lua judges one
// for all fills with the same token and lives.
func TestFillsOfOneCallAreJudgedEachByItsOwn(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: engine.Redis(t).Addr()})
	defer client.Close()
	s, err := New(client, "own", Config{})
	require.NoError(t, err)
	queries := []cache.Query{{Key: "a"}, {Key: "b"}, {Key: "c"}, {Key: "d"}}
	granted, err := s.Get(t.Context(), queries, time.Minute)
	require.NoError(t, err)
	_, err = s.Invalidate(t.Context(), cache.Message{Keys: []string{"d"}})
	require.NoError(t, err)
	fills := make([]cache.Fill, len(queries))
	for i, q := range queries {
		ttl := time.Duration(i+1) * time.Hour
		fills[i] = cache.Fill{Key: q.Key, Data: []byte(q.Key), Version: uint64(i + 1), Token: granted[i].Token, TTL: ttl, Fresh: ttl}
	}
	fills[1].Token += 1 << timeBits // of somebody else
	fills[1].TTL, fills[1].Fresh = fills[0].TTL, fills[0].Fresh
	stored, err := s.Put(t.Context(), fills)
	require.NoError(t, err)
	assert.Equal(t, []bool{true, false, true, false}, stored)

	records, err := s.Get(t.Context(), queries, 0)
	require.NoError(t, err)
	for i, life := range []time.Duration{time.Hour, 0, 3 * time.Hour, 0} {
		assert.Equal(t, life, records[i].TTL.Round(time.Minute), "of %s", queries[i].Key)
		assert.Equal(t, life > 0, records[i].Version == uint64(i+1), "of %s", queries[i].Key)
	}
}
