package cachetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// listen subscribes until the test ends, and returns what has come.
func listen(t *testing.T, bus cache.Bus, after uint64) (got func() []cache.Message, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var messages []cache.Message
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Subscribe(ctx, after, func(m cache.Message) { messages = append(messages, m) })
	}()
	got = func() []cache.Message {
		synctest.Wait()
		return messages
	}
	return got, func() error {
		cancel()
		return <-ended
	}
}

func get(t *testing.T, r cache.Remote, key string) cache.Record {
	t.Helper()
	records, err := r.Get(t.Context(), []cache.Query{{Key: key}}, 0)
	require.NoError(t, err)
	return records[0]
}

func put(t *testing.T, r cache.Remote, key, data string) {
	t.Helper()
	stored, err := r.Put(t.Context(), []cache.Fill{{Key: key, Data: []byte(data), Version: 1}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, stored)
}

func TestCutLinkHoldsCallsUntilItHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		n.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := n.Get(ctx, []cache.Query{{Key: "a"}}, 0)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begun))

		time.AfterFunc(time.Minute, n.Heal)
		put(t, n, "a", "x")
		assert.Equal(t, time.Minute+time.Second, time.Since(begun))
		assert.Equal(t, "x", string(get(t, cluster.Node(), "a").Data))
		assert.Equal(t, int64(3), cluster.Trips())
	})
}

func TestCutLinkSilencesTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		got, end := listen(t, n, 0)
		head := got()[0].Seq
		n.Cut()
		require.NoError(t, cluster.Node().Publish(t.Context(), cache.Message{Keys: []string{"a"}}))
		time.Sleep(time.Minute)
		assert.Equal(t, 1, len(got()))
		n.Heal()
		assert.Equal(t, head+1, got()[1].Seq)

		n.Cut()
		cluster.Stop()
		assert.ErrorIs(t, end(), context.Canceled, "not even the end of the connection gets through")
	})
}

func TestStoppedServerRefusesAndEndsSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		put(t, n, "a", "x")
		ended := make(chan error)
		go func() { ended <- n.Subscribe(t.Context(), 0, func(cache.Message) {}) }()
		synctest.Wait()
		cluster.Stop()
		assert.Error(t, <-ended)
		_, err := n.Get(t.Context(), []cache.Query{{Key: "a"}}, 0)
		assert.Error(t, err)
		assert.Error(t, n.Subscribe(t.Context(), 0, func(cache.Message) {}))
		cluster.Start()
		assert.Equal(t, "x", string(get(t, n, "a").Data), "a stop loses nothing")
	})
}

func TestWipeLosesAllAndIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		put(t, n, "a", "x")
		done, err := n.Invalidate(t.Context(), cache.Message{Tags: []string{"t"}})
		require.NoError(t, err)
		got, end := listen(t, n, done.Seq)
		require.Equal(t, done.Seq, got()[0].Seq)
		cluster.Wipe()
		time.Sleep(time.Second)
		last := got()[len(got())-1].Seq
		assert.True(t, last > done.Seq+1, "the heartbeat is at %d, behind %d", last, done.Seq)
		_ = end()

		assert.Equal(t, cache.Record{}, get(t, n, "a"))
		g, err := n.Generations(t.Context(), []string{"t"})
		require.NoError(t, err)
		assert.True(t, g.Clear > done.Generation, "lost stamps are a Clear")
		assert.Equal(t, uint64(0), g.Tags[0])
	})
}

func TestTrimmedLogIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		var seqs []uint64
		for range 5 {
			done, err := n.Invalidate(t.Context(), cache.Message{Keys: []string{"a"}})
			require.NoError(t, err)
			seqs = append(seqs, done.Seq)
		}
		cluster.Trim(2)
		got, end := listen(t, n, seqs[2])
		assert.Equal(t, []uint64{seqs[2], seqs[3], seqs[4]}, positions(got()), "all that is behind it is there")
		_ = end()
		got, end = listen(t, n, seqs[1])
		assert.Equal(t, []uint64{seqs[4]}, positions(got()), "the message after it is lost")
		_ = end()
	})
}

func positions(messages []cache.Message) (seqs []uint64) {
	for _, m := range messages {
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

func TestFaultsHitBeforeAndAfterTheEffect(t *testing.T) {
	cluster := cachetest.NewCluster(1)
	n, other := cluster.Node(), cluster.Node()
	put1 := func() error {
		_, err := n.Put(t.Context(), []cache.Fill{{Key: "a", Data: []byte("x"), Version: 1}})
		return err
	}
	n.SetFaults(cachetest.Faults{Fail: 1})
	assert.Error(t, put1())
	assert.Equal(t, uint64(0), get(t, other, "a").Version, "failed before it")
	n.SetFaults(cachetest.Faults{LoseReply: 1})
	assert.Error(t, put1())
	assert.Equal(t, uint64(1), get(t, other, "a").Version, "failed after it")
	cluster.SetFaults(cachetest.Faults{Fail: 1})
	for _, n := range []*cachetest.Node{n, other, cluster.Node()} {
		_, err := n.Generations(t.Context(), nil)
		assert.Error(t, err)
	}
}

func TestFaultsDropAndDoubleMessages(t *testing.T) {
	for _, c := range []struct {
		faults cachetest.Faults
		times  int
	}{{cachetest.Faults{Drop: 1}, 0}, {cachetest.Faults{Duplicate: 1}, 2}, {cachetest.Faults{}, 1}} {
		synctest.Test(t, func(t *testing.T) {
			cluster := cachetest.NewCluster(1)
			cluster.SetFaults(c.faults)
			n := cluster.Node()
			got, end := listen(t, n, 0)
			first := got()[0].Seq
			require.NoError(t, n.Publish(t.Context(), cache.Message{Keys: []string{"a"}}))
			assert.Equal(t, 1+c.times, len(got()))
			for _, m := range got()[1:] {
				assert.Equal(t, first+1, m.Seq)
			}
			_ = end()
		})
	}
}

func TestLatencyIsUpToItsBoundAndFollowsTheSeed(t *testing.T) {
	measure := func(seed uint64) (took []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			n := cachetest.NewCluster(seed).Node()
			n.SetFaults(cachetest.Faults{Latency: 10 * time.Millisecond})
			for range 100 {
				begun := time.Now()
				get(t, n, "a")
				took = append(took, time.Since(begun))
			}
		})
		return took
	}
	first := measure(1)
	distinct := make(map[time.Duration]bool)
	for _, d := range first {
		assert.True(t, d <= 10*time.Millisecond, "%v", d)
		distinct[d] = true
	}
	assert.True(t, len(distinct) > 50)
	assert.Equal(t, first, measure(1))
	assert.NotEqual(t, first, measure(2))
}

// The server forgets what is dead, or a long-lived one would only grow.
func TestDeadRecordsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		for i := range 10000 {
			_, err := n.Put(t.Context(), []cache.Fill{{Key: string(rune(i)), Data: []byte{}, Version: 1, TTL: time.Second}})
			require.NoError(t, err)
			time.Sleep(100 * time.Millisecond)
		}
		assert.True(t, cluster.Records() < 1100, "%d records", cluster.Records())
	})
}
