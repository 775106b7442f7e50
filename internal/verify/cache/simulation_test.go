package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

const (
	nodes   = 3
	workers = 2 // per node
	keys    = 4
	rounds  = 40 // operations of a worker
	maxLag  = 2 * time.Second

	// bound is how long an acknowledged write may go unnoticed elsewhere: MaxLag, a
	// load that ended in it, and what a heartbeat and a slow link add.
	bound = maxLag + 2*time.Second
)

// world is one simulation: a source whose values only grow, nodes in front of it,
// and what each may not read any more.
type world struct {
	t       *testing.T
	seed    uint64
	cluster *cachetest.Cluster
	links   []*cachetest.Node
	caches  []*cache.Cache[string, int]

	mu      sync.Mutex
	source  map[string]int
	floor   []map[string]int // per node: a Get that begins now reads this or later
	acked   map[string][]ack
	log     []string
	highest int           // version that was Set
	writer  chan struct{} // held by who writes k1; a mutex would stop the bubble's time
}

type ack struct {
	version int
	at      time.Time
}

// TestClusterStaysCoherent runs one history of calls and faults per seed, on fake
// time. S1 and S2 are checked on every read; when all faults are over, every node
// must read what the source has.
func TestClusterStaysCoherent(t *testing.T) {
	first, n := uint64(1), uint64(1000)
	if s := os.Getenv("KEELSON_CACHE_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		first, n = v, 1
	}
	if s := os.Getenv("KEELSON_CACHE_SEEDS"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		n = v
	}
	for seed := first; seed < first+n && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
	}
}

func simulate(t *testing.T, seed uint64) {
	w := &world{
		t: t, seed: seed, cluster: cachetest.NewCluster(seed),
		source: map[string]int{}, acked: map[string][]ack{}, writer: make(chan struct{}, 1), highest: 1,
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for key := range keys {
		w.source[name(key)] = 1
	}
	policy := cache.Policy{TTL: time.Duration(1+rng.IntN(100)) * time.Second, LoadTimeout: 5 * time.Second}
	if rng.IntN(2) == 0 {
		policy.Jitter, policy.Early = 0.2, 1
	}
	if rng.IntN(3) == 0 {
		policy.LocalTTL = time.Second
	}
	for range nodes {
		w.addNode(policy)
	}
	defer func() {
		for _, c := range w.caches {
			_ = c.Close()
		}
	}()
	var wg sync.WaitGroup
	for id := range nodes * workers {
		rng := rand.New(rand.NewPCG(seed, uint64(10+id)))
		wg.Go(func() { w.work(rng, id%nodes) })
	}
	stop := make(chan struct{})
	var chaos sync.WaitGroup
	chaos.Go(func() { w.chaos(rng, stop) })
	wg.Wait()
	close(stop)
	chaos.Wait()
	w.heal()
	w.checkQuiet()
	if t.Failed() {
		for _, line := range w.log {
			t.Log(line)
		}
		t.Logf("again with KEELSON_CACHE_SEED=%d", seed)
	}
}

func name(key int) string { return "k" + strconv.Itoa(key) }

// addNode adds a node. Key k1 is only written by Set.
func (w *world) addNode(policy cache.Policy) {
	link := w.cluster.Node()
	load := func(ctx context.Context, key string, _ *cache.Entry[int]) (cache.Entry[int], error) {
		w.mu.Lock()
		v := w.source[key]
		w.mu.Unlock()
		time.Sleep(time.Duration(rand.Int64N(int64(300 * time.Millisecond)))) //nolint:gosec // only the length of a sleep
		return cache.Entry[int]{Value: v, Tags: []string{"tag-" + key}}, ctx.Err()
	}
	c, err := cache.New(cache.Config[string, int]{
		Remote: link, Bus: link, LoadEntry: load, Policy: policy, MaxLag: maxLag, MaxEntries: 3,
		Save: func(_ context.Context, values map[string]int) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			maps.Copy(w.source, values)
			return nil
		},
	})
	require.NoError(w.t, err)
	w.caches, w.links = append(w.caches, c), append(w.links, link)
	w.floor = append(w.floor, map[string]int{})
}

func (w *world) say(format string, args ...any) {
	w.log = append(w.log, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// work reads and writes at random.
func (w *world) work(rng *rand.Rand, node int) {
	for range rounds {
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		key := name(rng.IntN(keys))
		switch n := rng.IntN(20); {
		case n < 12:
			w.read(node, key)
		case n < 14:
			w.readMany(node)
		case key == "k1":
			w.set(node, key, 1+rng.IntN(2))
		default:
			w.write(rng, node, key)
		}
	}
}

// least is what a read that begins now must return.
func (w *world) least(node int, key string) (version int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	version = w.floor[node][key]
	for _, a := range w.acked[key] {
		if time.Since(a.at) > bound {
			version = max(version, a.version)
		}
	}
	return version
}

func (w *world) read(node int, key string) {
	least, begun := w.least(node, key), time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	e, err := w.caches[node].GetEntry(ctx, key)
	w.check(node, key, least, e.Value, err, begun, e.Layer.String())
}

func (w *world) readMany(node int) {
	var all []string
	least := map[string]int{}
	for key := range keys {
		all = append(all, name(key))
		least[name(key)] = w.least(node, name(key))
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	got, err := w.caches[node].GetMany(ctx, all)
	for key, v := range got {
		w.check(node, key, least[key], v, nil, begun, "many")
	}
	if err != nil {
		w.check(node, "all", 0, 0, err, begun, "many")
	}
}

func (w *world) check(node int, key string, least, got int, err error, begun time.Time, from string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say("node %d read %s = %d (%v, begun %s, from %s)", node, key, got, err, begun.Format("05.000"), from)
	if err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("seed %d: node %d read %s: %v", w.seed, node, key, err)
		}
		return
	}
	if got < least {
		w.t.Errorf("seed %d: node %d read %s = %d, which was over at %d when the read began", w.seed, node, key, got, least)
	}
}

// write changes the source and invalidates, in one of three ways.
func (w *world) write(rng *rand.Rand, node int, key string) {
	w.mu.Lock()
	w.source[key]++
	version := w.source[key]
	all := map[string]int{key: version}
	w.mu.Unlock()
	var err error
	ctx, c := context.Background(), w.caches[node]
	switch how := rng.IntN(10); {
	case how < 6:
		err = c.Invalidate(ctx, key)
	case how < 9:
		err = c.InvalidateTags(ctx, "tag-"+key)
	default:
		err = c.Clear(ctx)
	}
	w.wrote(node, all, err)
}

// set writes the source through the cache, with one Set or two that overlap, which
// the source may get in either order; no other node writes this key meanwhile.
func (w *world) set(node int, key string, n int) {
	w.writer <- struct{}{}
	defer func() { <-w.writer }()
	w.mu.Lock()
	version := w.highest
	w.highest += n
	w.mu.Unlock()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = w.caches[node].Set(context.Background(), key, version+1+i) })
	}
	wg.Wait()
	w.mu.Lock()
	version = w.source[key]
	w.mu.Unlock()
	w.wrote(node, map[string]int{key: version}, errors.Join(errs...))
}

func (w *world) wrote(node int, versions map[string]int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say("node %d wrote %v: %v", node, versions, err)
	if err != nil && !errors.Is(err, cache.ErrPending) {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
	for key, version := range versions {
		w.floor[node][key] = max(w.floor[node][key], version)
		if err == nil {
			w.acked[key] = append(w.acked[key], ack{version, time.Now()})
		}
	}
}

// chaos breaks something, now and then.
func (w *world) chaos(rng *rand.Rand, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(2000)) * time.Millisecond):
		}
		link := w.links[rng.IntN(nodes)]
		what := ""
		switch rng.IntN(12) {
		case 0, 1:
			link.Cut()
			what = "cut"
		case 2, 3, 4:
			link.Heal()
			what = "heal"
		case 5:
			w.cluster.Stop()
			what = "stop"
		case 6, 7:
			w.cluster.Start()
			what = "start"
		case 8:
			w.cluster.Wipe()
			what = "wipe"
		case 9:
			w.cluster.Trim(rng.IntN(2))
			what = "trim"
		default:
			link.SetFaults(cachetest.Faults{
				Latency: time.Duration(rng.IntN(100)) * time.Millisecond,
				Fail:    rng.Float64() * 0.2, LoseReply: rng.Float64() * 0.2,
				Drop: rng.Float64() * 0.3, Duplicate: rng.Float64() * 0.3,
			})
			what = "faults"
		}
		w.mu.Lock()
		w.say("%s", what)
		w.mu.Unlock()
	}
}

// heal ends all faults, and waits until the nodes have noticed.
func (w *world) heal() {
	w.cluster.SetFaults(cachetest.Faults{})
	w.cluster.Start()
	for _, link := range w.links {
		link.Heal()
	}
	time.Sleep(30 * time.Second) // the longest pause of a probe, and of a subscription
}

// checkQuiet wants nothing stale anywhere.
func (w *world) checkQuiet() {
	for node, c := range w.caches {
		s := c.Stats()
		if s.Pending != 0 || !s.Linked || !s.RemoteUp {
			w.t.Errorf("seed %d: node %d has not recovered: %+v", w.seed, node, s)
		}
		for key := range keys {
			v, err := c.Get(context.Background(), name(key))
			if err != nil || v != w.source[name(key)] {
				w.t.Errorf("seed %d: node %d has %s = %d (%v), the source %d", w.seed, node, name(key), v, err, w.source[name(key)])
			}
		}
	}
}
