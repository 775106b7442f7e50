package load_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A quantile is never below the true one, and at most an eighth above it.
func TestHistogramAgainstSortedDurations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var h load.Histogram
		var all []time.Duration
		for range 1 + r.IntN(500) {
			d := time.Duration(1+r.Int64N(1<<r.IntN(40))) / time.Microsecond * time.Microsecond
			h.Add(d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			want := all[int(q*float64(len(all)-1))]
			got := h.Quantile(q)
			assert.True(t, got >= want && got <= want+want/8, "q %v of %d: true %v, got %v", q, len(all), want, got)
		}
	}
}

func TestHistogramEdges(t *testing.T) {
	var h load.Histogram
	assert.Equal(t, time.Duration(0), h.Quantile(0.5))
	h.Add(-time.Second)
	assert.Equal(t, time.Duration(0), h.Quantile(1))
	h.Add(1000 * time.Hour)
	assert.True(t, h.Quantile(1) > time.Hour, "longer than the last bucket counts as its end")
	before := h
	h.Add(5 * time.Microsecond)
	since := h.Minus(before)
	assert.Equal(t, uint64(1), since.Count())
	assert.Equal(t, 5*time.Microsecond, since.Quantile(0.5))
}

// gateway stands in for the shop.
func gateway(t *testing.T, handler http.HandlerFunc) (network *wire.Pipe, end func()) {
	t.Helper()
	network = &wire.Pipe{}
	ln, err := network.Listen("127.0.0.1:8000")
	require.NoError(t, err)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) }) // ends with Close
	return network, func() {
		srv.Close()
		wg.Wait()
	}
}

// run sends 100 requests a second at handler for so long, in fake time.
func run(t *testing.T, seed uint64, span time.Duration, handler http.HandlerFunc) (totals map[string]load.Totals) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network, end := gateway(t, handler)
		g := load.New(load.Config{Target: "http://127.0.0.1:8000", Network: network, Seed: seed, RPS: 100, Patience: 3 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx) })
		time.Sleep(span)
		g.Settle(ctx)
		totals = g.Totals()
		cancel()
		wg.Wait()
		end()
	})
	return totals
}

func sum(totals map[string]load.Totals) (c load.Counts) {
	for _, t := range totals {
		c.Sent += t.Sent
		c.OK += t.OK
		c.Fallback += t.Fallback
		c.Refused += t.Refused
		c.Failed += t.Failed
		c.Broken += t.Broken
	}
	return c
}

func TestEveryRequestHasOneFate(t *testing.T) {
	n := 0
	var mu sync.Mutex
	totals := run(t, 1, 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		fate := n % 8
		mu.Unlock()
		switch fate {
		case 0:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.WriteHeader(http.StatusNotFound)
		case 3:
			w.WriteHeader(http.StatusGatewayTimeout)
		case 4:
			w.WriteHeader(http.StatusInternalServerError)
		case 5:
			if r.Method == http.MethodPost && r.Header.Get("Idempotency-Key") == "" {
				panic(http.ErrAbortHandler) // all else would be sent once more
			}
			w.WriteHeader(http.StatusBadGateway)
		case 6:
			w.Header().Set("X-Fault", "f")
			w.WriteHeader(http.StatusInternalServerError)
		case 7:
			w.WriteHeader(http.StatusCreated)
		}
	})
	c := sum(totals)
	assert.InDelta(t, 1000, float64(c.Sent), 2)
	assert.Equal(t, c.Sent, c.OK+c.Refused+c.Failed+c.Broken)
	for name, got := range map[string]uint64{"ok": c.OK, "refused": c.Refused} {
		assert.InDelta(t, 125, float64(got), 2, "%s", name)
	}
	assert.InDelta(t, 375, float64(c.Failed), 2, "failed")
	assert.InDelta(t, 375, float64(c.Broken), 2, "broken")
}

// T14: latency counts from the schedule. Behind a server that stops for a second
// every request that was due meanwhile has waited its share of that second, so
// half of them show more than half a second; a closed loop would show one.
func TestLatencyIsCountedFromTheSchedule(t *testing.T) {
	var start sync.Once
	var stall time.Time
	totals := run(t, 1, time.Second, func(w http.ResponseWriter, r *http.Request) {
		start.Do(func() { stall = time.Now().Add(time.Second) })
		time.Sleep(time.Until(stall))
		w.WriteHeader(http.StatusOK)
	})
	var h load.Histogram
	for _, op := range totals {
		h.Merge(&op.Latency)
	}
	assert.InDelta(t, 0.5, h.Quantile(0.5).Seconds(), 0.07)
	assert.InDelta(t, 1, h.Quantile(1).Seconds(), 0.13)
}

// T13: a shop that answers nothing does not stop the load; those who wait too
// long are broken.
func TestTheLoadGoesOnWhenNothingIsAnswered(t *testing.T) {
	totals := run(t, 1, 20*time.Second, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees that a client leaves once it has read everything
		<-r.Context().Done()
	})
	c := sum(totals)
	assert.InDelta(t, 2000, float64(c.Sent), 2)
	assert.Equal(t, c.Sent, c.Broken)
	browse := totals[load.Browse]
	assert.InDelta(t, 3, browse.Latency.Quantile(0.5).Seconds(), 0.4)
}

func TestTheSeedDecidesTheOrderOfOperations(t *testing.T) {
	record := func(seed uint64) string {
		var mu sync.Mutex
		var seen []string
		run(t, seed, 2995*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, r.Method+" "+r.URL.Path)
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusCreated)
				_, _ = w.Write([]byte(`{"id":"O1"}`))
			}
		})
		return strings.Join(seen, "\n")
	}
	one := record(1)
	assert.True(t, one == record(1), "the same seed gives another order")
	assert.True(t, one != record(2), "another seed gives the same order")
	for _, want := range []string{"GET /api/users", "POST /api/users", "POST /api/orders", "GET /api/orders/O1"} {
		assert.Contains(t, one, want)
	}
}

func TestTheRateCanBeChangedAndStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, end := gateway(t, func(http.ResponseWriter, *http.Request) {})
		g := load.New(load.Config{Target: "http://127.0.0.1:8000", Network: network, Patience: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx) })
		time.Sleep(10 * time.Second)
		assert.Equal(t, uint64(0), sum(g.Totals()).Sent)
		assert.Equal(t, 10, g.SetRPS(10))
		time.Sleep(10 * time.Second)
		assert.InDelta(t, 100, float64(sum(g.Totals()).Sent), 1)
		recent := g.Recent(time.Second)
		var lately uint64
		for _, r := range recent {
			lately += r.Sent
		}
		assert.Equal(t, uint64(10), lately)
		assert.Equal(t, 2000, g.SetRPS(1e6))
		assert.Equal(t, 0, g.SetRPS(-1))
		synctest.Wait()
		stopped := sum(g.Totals()).Sent
		time.Sleep(time.Minute)
		assert.Equal(t, stopped, sum(g.Totals()).Sent)
		for _, r := range g.Recent(10 * time.Second) {
			assert.Equal(t, uint64(0), r.Sent, "what is older than ten seconds is not recent")
		}
		cancel()
		wg.Wait()
		end()
	})
}
