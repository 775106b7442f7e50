package cacheredis

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// percentile of what was measured.
func percentile(took []time.Duration, percent int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	return sorted[len(sorted)*percent/100]
}

// run lets workers read and write at random, nine reads for a write, while do
// works.
func (tr *traffic) run(t *testing.T, workers int, do func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for range workers {
		group.Go(func() {
			pause := time.NewTicker(time.Millisecond)
			defer pause.Stop()
			for ctx.Err() == nil {
				node, key := rand.IntN(len(tr.nodes)), rand.IntN(len(tr.source.values)-1)
				if rand.IntN(10) == 0 {
					tr.write(ctx, node, key)
				} else {
					tr.read(ctx, node, key)
				}
				<-pause.C
			}
		})
	}
	do()
}

// Random faults under load, kill -9 among them. Afterwards every key equals the
// source, and while it lasts no node reads behind what it has acknowledged.
func TestSoak(t *testing.T) {
	server := engine.Redis(t)
	const keys = 200
	s := newSource(keys)
	var nodes []*cache.Cache[int, string]
	var proxies []*engine.Proxy
	for range 3 {
		proxy := engine.ProxyTo(t, server.Addr())
		proxies = append(proxies, proxy)
		nodes = append(nodes, node(t, clientOf(t, proxy.Addr()), "soak", cache.Config[int, string]{
			MaxEntries: 150, Load: s.load, Policy: cache.Policy{TTL: time.Hour},
		}))
	}
	healed(t, nodes...)
	tr := newTraffic(s, nodes...)
	admin := clientOf(t, server.Addr())
	faults := map[string]int{}
	tr.run(t, 16, func() {
		which := killed // in each run, however short
		for end := time.Now().Add(seconds(t, 8*time.Second)); time.Now().Before(end); which = rand.IntN(faultKinds) {
			name := breakSomething(t, which, server, proxies, func(command string) { admin.Do(t.Context(), command) })
			faults[name]++
			wait(t, time.Duration(rand.IntN(300))*time.Millisecond)
		}
	})
	for _, p := range proxies {
		require.NoError(t, p.Set(engine.Fault{}))
	}
	t.Logf("faults: %v", faults)
	tr.report(t)
	assert.Zero(t, tr.stale.Load(), "reads behind an acknowledged invalidation")
	equal(t, s, nodes...)
}

// report prints what readers have noticed.
func (tr *traffic) report(t *testing.T) {
	t.Helper()
	t.Logf("%d reads, %d failed (%.3f %%), p50 %v, p99 %v; %d writes, %d pending; %d loads", tr.reads.Load(), tr.failed.Load(),
		100*float64(tr.failed.Load())/float64(max(tr.reads.Load(), 1)), percentile(tr.took, 50), percentile(tr.took, 99),
		tr.writes.Load(), tr.pending.Load(), tr.source.loads.Load())
}

// Redis dies and is away for ten seconds: with OutageLoad no read fails, few wait,
// and afterwards nobody reads what was invalidated meanwhile.
func TestKilledRedisFailsNoRead(t *testing.T) {
	server := engine.Redis(t)
	const keys, away = 200, 10 * time.Second
	s := newSource(keys)
	var nodes []*cache.Cache[int, string]
	for range 3 {
		nodes = append(nodes, node(t, clientOf(t, server.Addr()), "killed", cache.Config[int, string]{
			MaxEntries: 150, Load: s.load, Policy: cache.Policy{TTL: time.Hour},
		}))
	}
	healed(t, nodes...)
	tr := newTraffic(s, nodes...)
	tr.run(t, 16, func() {
		wait(t, 500*time.Millisecond)
		require.NoError(t, server.Kill())
		wait(t, away)
		require.NoError(t, server.Restart(t.Context()))
		wait(t, 500*time.Millisecond)
	})
	tr.report(t)
	assert.Zero(t, tr.failed.Load(), "reads that failed")
	assert.Zero(t, tr.stale.Load(), "reads behind an acknowledged invalidation")
	assert.Less(t, percentile(tr.took, 99), 250*time.Millisecond, "the timeout of the Remote is not added to each read")
	equal(t, s, nodes...)
}

// wait lets time pass for servers and nodes, which no bubble holds.
func wait(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// What breakSomething can break, and the first of that.
const (
	faultKinds = 10
	killed     = 0
)

// breakSomething does one thing that happens to servers and networks, and mends
// it unless it mends itself.
func breakSomething(t *testing.T, which int, server *engine.Server, proxies []*engine.Proxy, admin func(command string)) string {
	t.Helper()
	proxy := proxies[rand.IntN(len(proxies))]
	lasts := time.Duration(rand.IntN(1500)) * time.Millisecond
	fault := func(name string, f engine.Fault) string {
		require.NoError(t, proxy.Set(f))
		wait(t, lasts)
		require.NoError(t, proxy.Set(engine.Fault{}))
		return name
	}
	switch which {
	case killed:
		require.NoError(t, server.Kill())
		wait(t, lasts)
		require.NoError(t, server.Restart(t.Context()))
		return "kill -9"
	case 1:
		require.NoError(t, server.Pause())
		wait(t, lasts)
		require.NoError(t, server.Resume())
		return "pause"
	case 2:
		admin("FLUSHALL")
		return "FLUSHALL"
	case 3:
		admin("SCRIPT FLUSH")
		return "SCRIPT FLUSH"
	case 4:
		proxy.Cut()
		return "reset"
	case 5:
		return fault("stalled requests", engine.Fault{Stall: engine.ToTarget})
	case 6:
		return fault("stalled replies", engine.Fault{Stall: engine.ToClient})
	case 7:
		return fault("refused", engine.Fault{Refuse: true})
	case 8:
		return fault("latency", engine.Fault{Latency: 20 * time.Millisecond, Jitter: 50 * time.Millisecond})
	default:
		return fault("half-open", engine.Fault{HalfOpen: true, Stall: engine.BothWays})
	}
}

// A dead Remote costs a caller one RemoteTimeout at most, and the ones after it
// nothing.
func TestOutageCostsNoRequestItsTimeout(t *testing.T) {
	server := engine.Redis(t)
	const keys = 5000
	s := newSource(keys)
	n := node(t, clientOf(t, server.Addr()), "outage", cache.Config[int, string]{Load: s.load, RemoteTimeout: 250 * time.Millisecond})
	healed(t, n)
	require.NoError(t, server.Pause())
	var took []time.Duration
	slow, errs := 0, 0
	for key := range keys - 1 {
		begun := time.Now()
		if _, err := n.Get(t.Context(), key); err != nil {
			errs++
		}
		took = append(took, time.Since(begun))
		if took[key] > 200*time.Millisecond {
			slow++
		}
	}
	t.Logf("%d misses with Redis paused: %d errors, %d of them waited for Redis, p99 %v", len(took), errs, slow, percentile(took, 99))
	assert.Zero(t, errs)
	assert.LessOrEqual(t, slow, 6, "three calls put it down; get and fill of each may wait")
	require.NoError(t, server.Resume())
	equal(t, s, n)
}
