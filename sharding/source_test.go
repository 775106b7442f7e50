package sharding_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// source is a Source whose every step a test can steer.
type source struct {
	sharding.Memory
	mu    sync.Mutex
	loads int
	load  func(ctx context.Context, doc sharding.Document) (sharding.Document, error) // nil: as stored
	wait  func(ctx context.Context, after uint64) error                               // nil: Memory's
}

func (s *source) Load(ctx context.Context) (sharding.Document, error) {
	s.mu.Lock()
	s.loads++
	load := s.load
	s.mu.Unlock()
	doc, err := s.Memory.Load(ctx)
	if err == nil && load != nil {
		return load(ctx, doc)
	}
	return doc, err
}

func (s *source) Wait(ctx context.Context, after uint64) error {
	if s.wait != nil {
		return s.wait(ctx, after)
	}
	return s.Memory.Wait(ctx, after)
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

func (s *source) onLoad(f func(ctx context.Context, doc sharding.Document) (sharding.Document, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load = f
}

// put stores the next epoch; the document is the bound between a and b, below
// which a owns the keys.
func (s *source) put(t testing.TB, bound int) uint64 {
	t.Helper()
	doc, err := s.Memory.Load(context.Background())
	require.NoError(t, err)
	doc = sharding.Document{Epoch: doc.Epoch + 1, Map: []byte(strconv.Itoa(bound))}
	require.NoError(t, s.Put(context.Background(), doc))
	return doc.Epoch
}

// decodeBound is the decode function for put.
func decodeBound(doc []byte) (sharding.Map[int], error) {
	bound, err := strconv.Atoi(string(doc))
	if err != nil {
		return nil, fmt.Errorf("not a bound: %w", err)
	}
	return sharding.NewRanges(sharding.Range[int]{To: &bound, Owner: "a"}, sharding.Range[int]{From: &bound, Owner: "b"})
}

// opened is a router over a source with one topology.
func opened(t testing.TB, cfg sharding.Config) (*sharding.Router[int], *source) {
	t.Helper()
	s := &source{}
	s.put(t, 50)
	r, err := sharding.Open(context.Background(), s, decodeBound, cfg)
	require.NoError(t, err)
	return r, s
}

// waitEpoch waits, in a bubble, for an epoch and returns how long that took.
func waitEpoch[K any](t testing.TB, r *sharding.Router[K], epoch uint64, most time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for r.Stats().Epoch < epoch {
		time.Sleep(time.Millisecond)
		require.True(t, time.Since(began) <= most, "epoch %d after %v", r.Stats().Epoch, most)
	}
	return time.Since(began)
}

var errBroken = errors.New("source is down")
