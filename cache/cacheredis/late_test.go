package cacheredis

import (
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
	queries, askers := []cache.Query{{Key: "a"}}, drawAskers(1)
	get := func() uint64 {
		c := newCall(getScript, 1, 3)
		asks, plain := encodeQueries(queries, askers)
		c.add("late:a", wholeMillis(time.Minute)*1000, asks, flag(plain))
		require.NoError(t, s.conn.run(t.Context(), []*call{c}))
		records := make([]cache.Record, 1)
		require.NoError(t, c.records(queries, askers, records))
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
