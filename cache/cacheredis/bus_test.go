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

// log is a stream bus and the key that it is under.
func newLog(t *testing.T, client *redis.Client, c cacheredis.Config) (s *cacheredis.Store, key string) {
	t.Helper()
	name := newName()
	s, err := cacheredis.New(client, name, c)
	require.NoError(t, err)
	return s, "{" + name + "}:bus"
}

// T38: a log that no longer reaches back to a position.
func TestTrimmedLogIsAGap(t *testing.T) {
	client := one(t)
	s, key := newLog(t, client, cacheredis.Config{})
	var seqs []uint64
	for i := range 5 {
		seqs = append(seqs, invalidate(t, s, cache.Message{Keys: []string{fmt.Sprint(i)}}).Seq)
	}
	require.NoError(t, client.XTrimMaxLen(t.Context(), key, 2).Err())
	assert.Equal(t, seqs[2], subscribe(t, s, seqs[2]).next(t).Seq, "all that is behind it is there")
	assert.Equal(t, seqs[4], subscribe(t, s, seqs[1]).next(t).Seq, "the message behind it is lost")

	// While somebody listens, but does not get as far.
	h := subscribe(t, s, seqs[2])
	h.next(t)
	require.Equal(t, seqs[3], h.next(t).Seq)
	require.Equal(t, seqs[4], h.next(t).Seq)
	require.NoError(t, client.Do(t.Context(), "EVAL", `
		redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 'g', '0', 'm', '')
		redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
		return 1`, 1, key, seqs[4]+1).Err())
	for m := h.next(t); m.Seq != seqs[4]+1; m = h.next(t) {
		require.Equal(t, seqs[4], m.Seq)
	}
}

// T38: a server that lost everything starts above the positions that it gave out,
// however fast they were.
func TestWipedServerIsAGap(t *testing.T) {
	client := one(t)
	s, _ := newLog(t, client, cacheredis.Config{})
	h := subscribe(t, s, 0)
	h.next(t)
	var last uint64
	for range 200 {
		last = invalidate(t, s, cache.Message{Keys: []string{"a"}}).Seq
	}
	for m := h.next(t); m.Seq != last; m = h.next(t) {
		require.True(t, m.Seq < last)
	}
	require.NoError(t, client.FlushAll(t.Context()).Err())
	// Who was away, and who was not.
	first := subscribe(t, s, last).next(t).Seq
	assert.True(t, first > last+1, "from %d to %d", last, first)
	limit := time.Now().Add(30 * time.Second)
	for m := h.next(t); m.Seq != first; m = h.next(t) {
		require.Equal(t, last, m.Seq)
		require.True(t, time.Now().Before(limit), "the position stands")
	}
}

// T38: a replica that lacked the newest messages has become the primary, and
// gives their numbers out again.
func TestRenumberedLogIsAGap(t *testing.T) {
	client := one(t)
	s, key := newLog(t, client, cacheredis.Config{})
	for range 3 {
		invalidate(t, s, cache.Message{Keys: []string{"a"}})
	}
	saved, err := client.Dump(t.Context(), key).Result()
	require.NoError(t, err)
	h := subscribe(t, s, 0)
	h.next(t)
	lost := invalidate(t, s, cache.Message{Keys: []string{"lost"}})
	require.Equal(t, lost.Seq, message(t, h).Seq)
	require.ErrorIs(t, h.leave(), context.Canceled)
	idle := subscribe(t, s, lost.Seq)
	assert.Equal(t, lost.Seq, idle.next(t).Seq, "nothing has happened yet")
	require.ErrorIs(t, idle.leave(), context.Canceled)

	require.NoError(t, client.RestoreReplace(t.Context(), key, 0, saved).Err())
	again := invalidate(t, s, cache.Message{Keys: []string{"other"}})
	require.Equal(t, lost.Seq, again.Seq)
	head := invalidate(t, s, cache.Message{Keys: []string{"more"}})
	assert.Equal(t, head.Seq, subscribe(t, s, lost.Seq).next(t).Seq, "the message at the position is another one")
}

// T38: a link that neither works nor breaks.
func TestSilentLinkEndsTheSubscription(t *testing.T) {
	for name, c := range map[string]cacheredis.Config{"stream": {}, "pubsub": {PubSub: true}} {
		t.Run(name, func(t *testing.T) {
			behind, _, proxy, _ := broken(t, c)
			h := subscribe(t, behind, 0)
			h.next(t)
			begun := time.Now()
			require.NoError(t, proxy.Set(engine.Fault{Stall: engine.BothWays, HalfOpen: true}))
			err := h.end(t)
			require.Error(t, err)
			assert.NotErrorIs(t, err, context.Canceled)
			assert.True(t, time.Since(begun) < 5*time.Second, "within MaxLag, not after %v", time.Since(begun))
		})
	}
}

// A read that blocks on a link that has gone silent ends with the context: after the
// server's time to answer it would end by itself, which is too long for a Close.
func TestSubscriptionEndsWithItsContext(t *testing.T) {
	behind, _, proxy, server := broken(t, cacheredis.Config{})
	h := subscribe(t, behind, 0)
	h.next(t)
	clients := connect(t, server.Addr())
	eventually(t, "it waits for a message", func() bool {
		list, err := clients.ClientList(t.Context()).Result()
		require.NoError(t, err)
		return strings.Contains(list, " flags=b ") && strings.Contains(list, "cmd=xread")
	})
	require.NoError(t, proxy.Set(engine.Fault{Stall: engine.BothWays, HalfOpen: true}))
	begun := time.Now()
	assert.ErrorIs(t, h.leave(), context.Canceled)
	assert.True(t, time.Since(begun) < 700*time.Millisecond, "at once, and not after %v", time.Since(begun))
}

func TestSubscriptionEndsWithItsConnection(t *testing.T) {
	for name, c := range map[string]cacheredis.Config{"stream": {}, "pubsub": {PubSub: true}} {
		t.Run(name, func(t *testing.T) {
			s, direct, _, server := broken(t, c)
			kill := func() error {
				return connect(t, server.Addr()).ClientKillByFilter(t.Context(), "SKIPME", "yes").Err()
			}
			for _, end := range []func() error{kill, server.Kill} {
				h := subscribe(t, s, 0)
				h.next(t)
				require.NoError(t, end())
				assert.NotErrorIs(t, h.end(t), context.Canceled)
			}
			_, err := direct.Generations(under(t, time.Second), nil)
			assert.Error(t, err)
			require.NoError(t, server.Restart(t.Context()))
			subscribe(t, s, 0).next(t)
		})
	}
}

// A primary that has become a replica shows the past: who listens is told, and
// who comes later hears nothing.
func TestReplicaIsNoBus(t *testing.T) {
	primary := engine.Redis(t)
	replica := engine.RedisReplica(t, primary)
	for name, c := range map[string]cacheredis.Config{"stream": {}, "pubsub": {PubSub: true}} {
		t.Run(name, func(t *testing.T) {
			name := newName()
			on := func(s *engine.Server) *cacheredis.Store {
				store, err := cacheredis.New(connect(t, s.Addr()), name, c)
				require.NoError(t, err)
				return store
			}
			invalidate(t, on(primary), cache.Message{Keys: []string{"a"}})
			require.Equal(t, int64(1), connect(t, primary.Addr()).Wait(t.Context(), 1, 10*time.Second).Val())
			err := on(replica).Subscribe(under(t, 3*time.Second), 0, func(m cache.Message) { t.Errorf("a replica says %+v", m) })
			require.Error(t, err)
			assert.Contains(t, err.Error(), "READONLY")
		})
	}
}

// The same for a link that was there before.
func TestDemotedPrimaryIsNoBus(t *testing.T) {
	for name, c := range map[string]cacheredis.Config{"stream": {}, "pubsub": {PubSub: true}} {
		t.Run(name, func(t *testing.T) {
			primary, other := engine.Redis(t), engine.Redis(t)
			client := connect(t, primary.Addr())
			h := subscribe(t, open(t, client, c), 0)
			h.next(t)
			host, port := "127.0.0.1", other.Addr()[len("127.0.0.1:"):]
			require.NoError(t, client.Do(t.Context(), "REPLICAOF", host, port).Err())
			assert.NotErrorIs(t, h.end(t), context.Canceled)
		})
	}
}

// T38: a head below the position, as after a failover that lost messages.
func TestHeadBelowThePositionIsAGap(t *testing.T) {
	client := one(t)
	s, key := newLog(t, client, cacheredis.Config{})
	kept := invalidate(t, s, cache.Message{Keys: []string{"kept"}}).Seq
	saved, err := client.Dump(t.Context(), key).Result()
	require.NoError(t, err)
	lost := invalidate(t, s, cache.Message{Keys: []string{"lost"}}).Seq
	h := subscribe(t, s, 0)
	require.Equal(t, lost, h.next(t).Seq)

	require.NoError(t, client.RestoreReplace(t.Context(), key, 0, saved).Err())
	assert.Equal(t, kept, subscribe(t, s, lost).next(t).Seq, "who was away")
	limit := time.Now().Add(30 * time.Second)
	for m := h.next(t); m.Seq != kept; m = h.next(t) {
		require.Equal(t, lost, m.Seq)
		require.True(t, time.Now().Before(limit), "who listens never hears of it")
	}
}

// T38 for Pub/Sub: what was counted has to come.
func TestLostMessageOnTheChannelEndsTheSubscription(t *testing.T) {
	client, name := one(t), newName()
	s, err := cacheredis.New(client, name, cacheredis.Config{PubSub: true})
	require.NoError(t, err)
	h := subscribe(t, s, 0)
	h.next(t)
	require.NoError(t, s.Publish(t.Context(), cache.Message{Clear: true}))
	require.True(t, message(t, h).Clear)
	require.NoError(t, client.Incr(t.Context(), "{"+name+"}:channel").Err())
	assert.Contains(t, h.end(t).Error(), "lost")
}

func TestUnreadableMessageEndsTheSubscription(t *testing.T) {
	client := one(t)
	s, key := newLog(t, client, cacheredis.Config{})
	h := subscribe(t, s, 0)
	head := h.next(t).Seq
	require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{
		Stream: key, ID: fmt.Sprintf("%d-0", head+1), Values: []string{"g", "0", "m", "of another version"},
	}).Err())
	assert.Contains(t, h.end(t).Error(), "cannot be read")
	assert.Equal(t, head+1, subscribe(t, s, 0).next(t).Seq, "who starts anew starts behind it")
}

func TestLogIsBounded(t *testing.T) {
	client := one(t)
	s, key := newLog(t, client, cacheredis.Config{StreamLen: 100})
	for range 1000 {
		require.NoError(t, s.Publish(t.Context(), cache.Message{Keys: []string{"a"}}))
	}
	n := client.XLen(t.Context(), key).Val()
	assert.True(t, n >= 100 && n < 300, "%d messages of 1000, at least 100", n)
}
