package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/maypok86/otter/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/cache"
)

// A traceFloor is a trace, its capacities, and by how many percentage points our
// hit ratio may at worst differ from each peer's, mean over the capacities.
type traceFloor struct {
	name               string
	capacities         []int
	lru, s3fifo, otter float64
}

var traceFloors = []traceFloor{
	{"oltp", []int{500, 1000, 2000}, 5, -2, -1.5},
	{"gli", []int{500, 1000, 2000}, 20, 9, 1},
	{"loop", []int{250, 500, 750}, 40, 23, -2.5},
	{"cs", []int{500}, 24, 24, -2},
	{"multi1", []int{500, 1000}, 12, 6, -2},
	{"multi2", []int{500, 1000}, 9, 1.5, -2.5},
	{"multi3", []int{500, 1000, 2000}, 11, 4, -1},
	{"2_pools", []int{100, 400}, 10, -2, -3},
	{"sprite", []int{300, 600}, -2, -4, -2},
}

// The floors of the mean of all points, and of the worst point.
var (
	meanFloor  = [3]float64{15, 7, -0.5}
	pointFloor = [3]float64{-6, -6, -4.5}
)

// traceRuns is how often caches with random seeds run a point; the mean counts.
const traceRuns = 5

// A request is a Get, and on a miss a Set. Beside each ratio stands how many
// entries were resident at most: who keeps more than the capacity hits more often.
func TestHitRatioOfTraces(t *testing.T) {
	dir := os.Getenv("KEELSON_TRACES")
	if dir == "" {
		t.Skip("KEELSON_TRACES is not set: it names the directory of the traces (LIRS, ARC), gzip or plain")
	}
	var sum, worst [3]float64
	points := 0.0
	t.Log("trace      capacity    LRU  S3-FIFO  otter (resident)  keelson (resident)   points against LRU, S3-FIFO, otter")
	for _, f := range traceFloors {
		requests := readTrace(t, dir, f.name)
		var mean [3]float64
		for _, capacity := range f.capacities {
			lru := simulate(requests, newRecency(capacity).request)
			s3 := simulate(requests, newS3(capacity).request)
			others, theirs := runOtter(requests, capacity)
			ratio, ours := runKeelson(t, requests, capacity)
			require.LessOrEqual(t, ours, capacity, "%s %d: the bound", f.name, capacity)
			diffs := [3]float64{ratio - lru, ratio - s3, ratio - others}
			t.Logf("%-10s %8d  %5.2f  %5.2f   %5.2f (%5d)     %5.2f (%5d)        %+6.2f %+6.2f %+6.2f",
				f.name, capacity, lru, s3, others, theirs, ratio, ours, diffs[0], diffs[1], diffs[2])
			for i, d := range diffs {
				mean[i] += d / float64(len(f.capacities))
				sum[i] += d
				worst[i] = min(worst[i], d)
			}
			points++
		}
		t.Logf("%-10s     mean %60s %+6.2f %+6.2f %+6.2f", f.name, "", mean[0], mean[1], mean[2])
		for i, floor := range []float64{f.lru, f.s3fifo, f.otter} {
			assert.GreaterOrEqual(t, mean[i], floor, "%s against %s", f.name, tracePeers[i])
		}
	}
	for i, peer := range tracePeers {
		t.Logf("against %s: mean of %.0f points %+.2f, worst point %+.2f", peer, points, sum[i]/points, worst[i])
		assert.GreaterOrEqual(t, sum[i]/points, meanFloor[i], "the mean against %s", peer)
		assert.GreaterOrEqual(t, worst[i], pointFloor[i], "the worst point against %s", peer)
	}
}

var tracePeers = [3]string{"LRU", "S3-FIFO", "otter"}

// simulate returns the hits in percent.
func simulate(requests []uint64, request func(key uint64) bool) float64 {
	hits := 0
	for _, key := range requests {
		if request(key) {
			hits++
		}
	}
	return 100 * float64(hits) / float64(len(requests))
}

func runKeelson(t *testing.T, requests []uint64, capacity int) (ratio float64, most int) {
	ctx := context.Background()
	for range traceRuns {
		c, err := cache.New(cache.Config[uint64, uint64]{MaxEntries: capacity})
		require.NoError(t, err)
		steps := 0
		ratio += simulate(requests, func(key uint64) bool {
			if steps++; steps%1000 == 0 {
				most = max(most, int(c.Stats().Entries))
			}
			if _, err := c.Get(ctx, key); err == nil {
				return true
			}
			_ = c.Set(ctx, key, key)
			return false
		}) / traceRuns
	}
	return ratio, most
}

// runOtter runs maintenance on the calling goroutine, or its hit ratio would hang
// on how fast the machine is.
func runOtter(requests []uint64, capacity int) (ratio float64, most int) {
	for range traceRuns {
		c := otter.Must(&otter.Options[uint64, uint64]{MaximumSize: capacity, Executor: func(f func()) { f() }})
		steps := 0
		ratio += simulate(requests, func(key uint64) bool {
			if steps++; steps%1000 == 0 {
				most = max(most, c.EstimatedSize())
			}
			if _, ok := c.GetIfPresent(key); ok {
				return true
			}
			c.Set(key, key)
			return false
		}) / traceRuns
		c.StopAllGoroutines()
	}
	return ratio, most
}

// readTrace reads LIRS's format, a number per line, or ARC's, start and count.
func readTrace(t *testing.T, dir, name string) (requests []uint64) {
	var in io.Reader
	if f, err := os.Open(filepath.Join(dir, name)); err == nil {
		defer f.Close()
		in = f
	} else {
		f, err := os.Open(filepath.Join(dir, name+".gz"))
		require.NoError(t, err)
		defer f.Close()
		in, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	requests, err := parseTrace(in)
	require.NoError(t, err)
	require.NotEmpty(t, requests)
	return requests
}

func parseTrace(in io.Reader) (requests []uint64, err error) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		start, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			continue // LIRS traces end in a line with a star
		}
		count := uint64(1)
		if len(fields) > 1 {
			if count, err = strconv.ParseUint(fields[1], 10, 32); err != nil {
				return nil, fmt.Errorf("count of %q: %w", lines.Text(), err)
			}
		}
		for i := range count {
			requests = append(requests, start+i)
		}
	}
	return requests, lines.Err()
}

func TestParseTrace(t *testing.T) {
	got, err := parseTrace(strings.NewReader("7\n\n10 3 0 1\n*\n"))
	require.NoError(t, err)
	assert.Equal(t, []uint64{7, 10, 11, 12}, got)
	_, err = parseTrace(strings.NewReader("7 x\n"))
	assert.Error(t, err)
}

// The references must be what they say, or a floor against them means nothing.
func TestReferencePolicies(t *testing.T) {
	var loop []uint64
	for i := range uint64(3000) {
		loop = append(loop, i%11)
	}
	assert.Zero(t, simulate(loop, newRecency(10).request), "LRU has no hits in a loop that does not fit")
	assert.InDelta(t, 100-100*11.0/3000, simulate(loop, newRecency(11).request), 0.01)
	assert.InDelta(t, 100-100*11.0/3000, simulate(loop, newS3(11).request), 0.01)

	s := newS3(20)
	for i := range uint64(100000) {
		s.request(i * i % 1009 % uint64(20+i%50))
		require.LessOrEqual(t, len(s.freq), 20)
		require.Equal(t, len(s.freq), len(s.small)+len(s.main))
		require.LessOrEqual(t, len(s.ghost), 18)
	}
	// Whoever was read twice in the small queue survives a scan.
	s = newS3(100)
	for range 3 {
		s.request(1)
	}
	hit := 0.0
	for i := range uint64(1000) {
		s.request(1000 + i)
	}
	if s.request(1) {
		hit = 1
	}
	assert.Equal(t, 1.0, math.Abs(hit))
}

// The same without any files: what plain recency is worst at, a loop just larger
// than the cache, and what it is good at, a skew whose favourites change.
func TestHitRatioOfGeneratedTraces(t *testing.T) {
	const capacity, requests = 1000, 200_000
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.05, 1, 20_000)
	traces := map[string]func(i int) int{
		"loop of 1,100":                       func(i int) int { return i % 1100 },
		"zipf, other favourites by the tenth": func(i int) int { return int(zipf.Uint64()) + i/(requests/10)*100_000 },
		"zipf and a scan": func(i int) int {
			if i%4 == 0 {
				return 1_000_000 + i
			}
			return int(zipf.Uint64())
		},
	}
	// In percentage points. Frequency costs a little where the favourites change.
	floors := map[string]float64{"loop of 1,100": 75, "zipf, other favourites by the tenth": -6, "zipf and a scan": 4}
	for name, at := range traces {
		trace := make([]uint64, requests)
		for i := range trace {
			trace[i] = uint64(at(i))
		}
		lru := simulate(trace, newRecency(capacity).request)
		ours, resident := runKeelson(t, trace, capacity)
		t.Logf("%-36s LRU %5.2f, keelson %5.2f", name, lru, ours)
		require.LessOrEqual(t, resident, capacity, name)
		assert.GreaterOrEqual(t, ours-lru, floors[name], name)
	}
}
