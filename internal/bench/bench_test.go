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
	old := flag.Lookup("test.benchtime").Value.String()
	require.NoError(t, flag.Set("test.benchtime", "200x"))
	t.Cleanup(func() { require.NoError(t, flag.Set("test.benchtime", old)) })
	for _, p := range packages() {
		for _, r := range p.rows {
			res := measureRow(r, 2, 1)
			for i, s := range append(res.peers, res.ours) {
				assert.Positive(t, s.rounds[0].N, "%s, contender %d", r.name, i)
			}
		}
	}
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
	for _, args := range [][]string{{"-cpu", "0"}, {"-cpu", "x"}, {"-count", "0"}, {"-time", "-1s"}, {"-run", "("}} {
		assert.ErrorContains(t, run(args, io.Discard), args[0][1:])
	}
}
