package main

import (
	"flag"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every contender of every row must run, and ours within its ceiling: a row
// that panics or fails would otherwise show only in the next full run.
func TestEveryRowRuns(t *testing.T) {
	for _, p := range packages() {
		for _, r := range p.rows {
			t.Run(r.name, func(t *testing.T) {
				setBenchtime(t, "10x")
				res, err := measureRow(r, 2, 1)
				require.NoError(t, err)
				if res.slowest() < 5*time.Millisecond { // enough calls to count allocations
					setBenchtime(t, "200x")
					res, err = measureRow(r, 2, 1)
					require.NoError(t, err)
				}
				for i, s := range append(res.peers, res.ours) {
					assert.Positive(t, s.rounds[0].N, "contender %d", i)
					if r.p50 {
						assert.Positive(t, s.extra()["p50-ns"], "contender %d", i)
					}
				}
				assert.Empty(t, aboveCeiling([]result{res}))
			})
		}
	}
}

// slowest is the time of the slowest contender.
func (r *result) slowest() time.Duration {
	most := r.ours.ns()
	for _, p := range r.peers {
		most = max(most, p.ns())
	}
	return time.Duration(most)
}

// A contender that fails, at once or after a while, has no time to compare.
func TestAFailedContenderIsAnError(t *testing.T) {
	setBenchtime(t, "200x")
	good := func(b *testing.B) {
		for b.Loop() {
			_, _ = op()
		}
	}
	for name, bad := range map[string]func(b *testing.B){
		"Fatal":          func(b *testing.B) { b.Fatal("no") },
		"Error":          func(b *testing.B) { b.Error("no") },
		"Error, later":   lateError,
		"Fatal, in Loop": func(b *testing.B) { good(b); b.Fatal("no") },
	} {
		_, err := measureRow(row{name: "r", ours: bad}, 1, 1)
		assert.ErrorContains(t, err, "r: keelson: ", name)
		_, err = measureRow(row{name: "r", ours: good, peers: []peer{{name: "p", bench: bad}}}, 1, 1)
		assert.ErrorContains(t, err, "r: p: ", name)
	}
}

// lateError passes the first run, of one call, as a breaker does that closes
// in the middle of a measurement.
func lateError(b *testing.B) {
	if b.N > 1 {
		b.Error("no")
	}
}

func setBenchtime(t *testing.T, text string) {
	t.Helper()
	old := flag.Lookup("test.benchtime").Value.String()
	require.NoError(t, flag.Set("test.benchtime", text))
	t.Cleanup(func() { require.NoError(t, flag.Set("test.benchtime", old)) })
}

func TestMedianAndRatio(t *testing.T) {
	of := func(ns ...time.Duration) (s sample) {
		for _, d := range ns {
			s.add(testing.BenchmarkResult{N: 10, T: 10 * d})
		}
		return s
	}
	r := result{row: row{name: "x", peers: []peer{{name: "p v1", target: 0.5}, {name: "q v1", target: 0.1}, {name: "r v1"}}}, cpu: 1}
	r.ours, r.peers = of(50, 10, 40), []sample{of(100, 1, 100), of(100, 100, 100), of(80)}
	assert.Equal(t, 40.0, r.ours.ns())
	text := table([]result{r})
	assert.Contains(t, text, "| x | 1 | 40 ns | p v1 | 100 ns | 0.40 | <= 0.5 | met |")
	assert.Contains(t, text, "| x | 1 | 40 ns | q v1 | 100 ns | 0.40 | <= 0.1 | **missed** |")
	assert.Contains(t, text, "| x | 1 | 40 ns | r v1 | 80 ns | 0.50 | |  |")
}

func TestRowsOfSingleCallsCompareTheirP50(t *testing.T) {
	of := func(mean time.Duration, p50 float64) (s sample) {
		s.add(testing.BenchmarkResult{N: 1, T: mean, Extra: map[string]float64{"p50-ns": p50}})
		return s
	}
	r := result{row: row{name: "x", p50: true, peers: []peer{{name: "p v1", target: 2}}}, cpu: 1, ours: of(900, 30), peers: []sample{of(100, 20)}}
	assert.Equal(t, 1.5, r.ratio(0))
	r.row.p50 = false
	assert.Equal(t, 9.0, r.ratio(0))
}

func TestTimeBoundsHaveAVerdict(t *testing.T) {
	r := result{row: row{name: "x", most: 30 * time.Nanosecond}, cpu: 1}
	r.ours.add(testing.BenchmarkResult{N: 1, T: 30})
	assert.Contains(t, table([]result{r}), "| x | 1 | 30 ns | | | | <= 30ns | met |")
	r.row.most = 29
	assert.Contains(t, table([]result{r}), "| x | 1 | 30 ns | | | | <= 29ns | **missed** |")
	r.row.most = 0
	assert.Contains(t, table([]result{r}), "| x | 1 | 30 ns | | | | |  |")
}

func TestMeasuresOfItsOwnAreShown(t *testing.T) {
	r := result{row: row{name: "x"}, cpu: 1}
	for _, p99 := range []float64{900, 100, 500} {
		r.ours.add(testing.BenchmarkResult{N: 1, T: 30, Extra: map[string]float64{"p99-ns": p99, "msg/s": 7}})
	}
	assert.Contains(t, table([]result{r}), "| x | 1 | 30 ns, 7 msg/s, p99 500 ns |")
	assert.Contains(t, benchstat("p", []result{r}), "\t0 allocs/op\t7.00 msg/s\t900.00 p99-ns\n")
}

func TestABenchmarkMayMeasureItsTimeByItself(t *testing.T) {
	r := result{row: row{name: "x", most: 30 * time.Nanosecond, peers: []peer{{name: "p v1"}}}, cpu: 1, peers: make([]sample, 1)}
	r.ours.add(testing.BenchmarkResult{N: 1, T: 900, Extra: map[string]float64{"ns/op": 25}})
	r.peers[0].add(testing.BenchmarkResult{N: 1, T: 50})
	assert.Equal(t, 25.0, r.ours.ns())
	assert.Equal(t, 0.5, r.ratio(0))
	assert.Empty(t, r.ours.extra(), "it is shown once")
	assert.Contains(t, table([]result{r}), "| x | 1 | 25 ns | | | | <= 30ns | met |")
	assert.Contains(t, benchstat("p", []result{r}), "\t25.00 ns/op\t0 B/op\t0 allocs/op\n")
}

func TestAllocationAboveTheCeilingIsReported(t *testing.T) {
	r := result{row: row{name: "x", allocs: 1}}
	r.ours.add(testing.BenchmarkResult{N: 1, MemAllocs: 1})
	assert.Empty(t, aboveCeiling([]result{r}))
	r.ours.add(testing.BenchmarkResult{N: 1, MemAllocs: 2})
	assert.Equal(t, []string{"x: 2 allocs/op, at most 1"}, aboveCeiling([]result{r}))
}

func TestTablesGoBetweenTheirMarkers(t *testing.T) {
	text, err := between("a\n<!-- begin p -->\nold\n<!-- end p -->\nz\n", "p", "new\n")
	require.NoError(t, err)
	assert.Equal(t, "a\n<!-- begin p -->\nnew\n<!-- end p -->\nz\n", text)
	_, err = between("nothing here", "p", "new\n")
	assert.ErrorContains(t, err, "begin p")
}

func TestBadFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{{"-cpu", "0"}, {"-cpu", "x"}, {"-count", "0"}, {"-time", "-1s"}, {"-run", "("}, {"-package", "x"}, {"-out", "x", "-run", "closed"}, {"-out", "x", "-smoke"}} {
		assert.ErrorContains(t, run(args, io.Discard), args[0][1:])
	}
}

// TestMain ends the servers that rows have started.
func TestMain(m *testing.M) {
	m.Run()
	if err := closeEngines(); err != nil {
		panic(err)
	}
}
