package sharding_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

func TestOpenNeedsATopology(t *testing.T) {
	ctx := context.Background()
	_, err := sharding.Open(ctx, new(sharding.Memory), decodeBound, sharding.Config{})
	assert.Contains(t, err.Error(), "no topology is stored")
	_, err = sharding.Open(ctx, nil, decodeBound, sharding.Config{})
	assert.Error(t, err)
	_, err = sharding.Open[int](ctx, new(sharding.Memory), nil, sharding.Config{})
	assert.Error(t, err)
	s := &source{}
	s.put(t, 1)
	s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) {
		return sharding.Document{}, errBroken
	})
	_, err = sharding.Open(ctx, s, decodeBound, sharding.Config{})
	assert.ErrorIs(t, err, errBroken)
	r := routerOf[int](t, ints(t, all[int]("a")), sharding.Config{})
	assert.Error(t, r.Refresh(ctx))
	assert.Error(t, r.Follow(ctx))
}

// T26: a Refresh never settles for a load that began before it: that one may
// have read what was there before the change.
func TestRefreshSeesWhatWasStoredBeforeIt(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{})
		s.onLoad(func(_ context.Context, doc sharding.Document) (sharding.Document, error) {
			time.Sleep(time.Second) // the document is read, the answer is slow
			return doc, nil
		})
		go func() { _ = r.Refresh(context.Background()) }()
		synctest.Wait()
		epoch := s.put(t, 60) // after the first load has read
		require.NoError(t, r.Refresh(context.Background()))
		assert.Equal(t, epoch, r.Stats().Epoch)
	})
}

// Callers who ask during one load share the next: two loads serve them all.
func TestRefreshIsShared(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{})
		s.onLoad(func(_ context.Context, doc sharding.Document) (sharding.Document, error) {
			time.Sleep(time.Second)
			return doc, nil
		})
		before := s.count()
		var served atomic.Int64
		for range 100 {
			go func() {
				if r.Refresh(context.Background()) == nil {
					served.Add(1)
				}
			}()
			synctest.Wait()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Equal(t, int64(100), served.Load())
		assert.Equal(t, 2, s.count()-before)
	})
}

// A leader whose context ends hands over: the others get their load.
func TestRefreshSurvivesItsLeader(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{})
		s.onLoad(func(ctx context.Context, doc sharding.Document) (sharding.Document, error) {
			select {
			case <-time.After(time.Second):
				return doc, nil
			case <-ctx.Done():
				return doc, ctx.Err()
			}
		})
		s.put(t, 60)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(context.Background())
		led, followed := make(chan error, 1), make(chan error, 2)
		go func() { led <- r.Refresh(ctx) }()
		synctest.Wait()
		for range 2 {
			go func() { followed <- r.Refresh(context.Background()) }()
		}
		time.Sleep(time.Second / 2)
		cancel(gone)
		assert.ErrorIs(t, <-led, gone)
		assert.NoError(t, <-followed)
		assert.NoError(t, <-followed)
		assert.Equal(t, uint64(2), r.Stats().Epoch)

		waiting, stop := context.WithCancelCause(context.Background())
		go func() { _ = r.Refresh(context.Background()) }()
		synctest.Wait()
		go func() { followed <- r.Refresh(waiting) }()
		synctest.Wait()
		stop(gone)
		assert.ErrorIs(t, <-followed, gone)
		time.Sleep(2 * time.Second)
	})
}

// A load that panics passes the token on.
func TestRefreshSurvivesAPanic(t *testing.T) {
	r, s := opened(t, sharding.Config{})
	s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) { panic("driver") })
	assert.Equal(t, "driver", assert.Panics(t, func() { _ = r.Refresh(context.Background()) }))
	s.onLoad(nil)
	assert.NoError(t, r.Refresh(context.Background()))
}

// T28: a broken, empty or older document leaves the router as it was; the next
// good one is installed. T22 of the source: nothing is guessed.
func TestBrokenDocumentsAreNotInstalled(t *testing.T) {
	ctx := context.Background()
	r, s := opened(t, sharding.Config{})
	s.put(t, 60)
	require.NoError(t, r.Refresh(ctx))
	for want, doc := range map[string]sharding.Document{
		"map of epoch 3: not a bound":       {Epoch: 3, Map: []byte(`"x"`)},
		"map of epoch 4: not a bound":       {Epoch: 4},
		"mirror of epoch 3: not a bound":    {Epoch: 3, Map: []byte("1"), Mirror: []byte("{}")},
		"no topology is stored":             {},
		"epoch 1 is offered, 2 is in force": {Epoch: 1, Map: []byte("50")},
		"another topology has epoch 2":      {Epoch: 2, Map: []byte("61")},
	} {
		s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) { return doc, nil })
		err := r.Refresh(ctx)
		require.Error(t, err, want)
		assert.Contains(t, err.Error(), want)
		assert.Equal(t, uint64(2), r.Stats().Epoch)
		assert.Equal(t, sharding.ID("a"), route(t, r, 59).Shard)
	}
	stats := r.Stats()
	assert.Equal(t, uint64(6), stats.LoadErrors)
	s.onLoad(nil)
	s.put(t, 70)
	require.NoError(t, r.Refresh(ctx))
	assert.Equal(t, sharding.ID("a"), route(t, r, 69).Shard)
}

// Bytes that did not change are not decoded again, even as the mirror.
func TestUnchangedMapsAreNotDecodedAgain(t *testing.T) {
	ctx := context.Background()
	s, decoded := &source{}, 0
	s.put(t, 50)
	r, err := sharding.Open(ctx, s, func(doc []byte) (sharding.Map[int], error) {
		decoded++
		m, err := decodeBound(doc)
		clear(doc) // T41: they are ours
		return m, err
	}, sharding.Config{})
	require.NoError(t, err)
	for _, doc := range []sharding.Document{
		{Epoch: 2, Map: []byte("50"), Mirror: []byte("60")},
		{Epoch: 3, Map: []byte("50"), Mirror: []byte("60"), Block: true},
		{Epoch: 4, Map: []byte("60"), Mirror: []byte("50")},
		{Epoch: 5, Map: []byte("60"), Mirror: []byte("null")},
	} {
		require.NoError(t, s.Put(ctx, doc))
		require.NoError(t, r.Refresh(ctx))
		require.NoError(t, r.Refresh(ctx))
	}
	assert.Equal(t, 2, decoded)
	assert.Equal(t, uint64(5), r.Stats().Epoch)
	assert.Equal(t, sharding.ID(""), route(t, r, 55).Mirror())
}

// A callback runs with no lock held: it may refresh, and while it is slow
// others refresh beside it.
func TestCallbacksMayRefresh(t *testing.T) {
	in(t, func(t *testing.T) {
		var r *sharding.Router[int]
		var inner error
		r, s := opened(t, sharding.Config{OnEvent: func(e sharding.Event) {
			inner = r.Refresh(t.Context())
			time.Sleep(time.Minute)
		}})
		s.put(t, 60)
		go func() { _ = r.Refresh(t.Context()) }()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, r.Refresh(t.Context()))
		assert.Equal(t, time.Duration(0), time.Since(began))
		time.Sleep(2 * time.Minute)
		assert.NoError(t, inner)
	})
}
