package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"
)

// A row is one workload, run on keelson and on its peers.
type row struct {
	name  string // "closed, success, 10 s window"
	ours  func(b *testing.B)
	peers []peer

	// allocs is the most that ours may allocate per operation.
	allocs int64

	// most is the longest that ours may take, where no peer does the same.
	// Zero is reported without one.
	most time.Duration

	// p50: each contender times its calls, see timed, and the ratios are of what half of
	// them take at most, as a server's user sees it; means hang on the worst few.
	p50 bool
}

// A peer runs the same workload, configured as its users would for the same
// guarantees.
type peer struct {
	name  string // with version
	bench func(b *testing.B)

	// target is the most that ours/peer may be. Zero is reported without one.
	target float64
}

// small is set where a row shall show that it runs, and not how fast: in the tests
// and the smoke run.
var small = testing.Testing()

// sized is how much a row begins with.
func sized(n int) int {
	if small {
		return min(n, 10_000)
	}
	return n
}

// A result is a row measured at one GOMAXPROCS.
type result struct {
	row   row
	cpu   int
	ours  sample
	peers []sample
}

// ratio is ours to that of a peer.
func (r *result) ratio(peer int) float64 {
	if r.row.p50 {
		return r.ours.extra()["p50-ns"] / r.peers[peer].extra()["p50-ns"]
	}
	return r.ours.ns() / r.peers[peer].ns()
}

// A sample is what one contender did in each round.
type sample struct {
	rounds []testing.BenchmarkResult
}

func (s *sample) add(r testing.BenchmarkResult) { s.rounds = append(s.rounds, r) }

// ns is the median time of an operation. With an even number of rounds it is
// the slower of the two in the middle.
func (s *sample) ns() float64 {
	all := make([]float64, 0, len(s.rounds))
	for _, r := range s.rounds {
		all = append(all, nsPerOp(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// extra is the median of each measure that the benchmark reports by itself.
func (s *sample) extra() map[string]float64 {
	all := make(map[string][]float64)
	for _, r := range s.rounds {
		for unit, v := range r.Extra {
			if unit != "ns/op" { // see nsPerOp
				all[unit] = append(all[unit], v)
			}
		}
	}
	medians := make(map[string]float64, len(all))
	for unit, values := range all {
		slices.Sort(values)
		medians[unit] = values[len(values)/2]
	}
	return medians
}

// allocs is the largest count of all rounds, since one that differs from the
// others is worth a look. A round counts whole allocations per operation.
func (s *sample) allocs() (n int64) {
	for _, r := range s.rounds {
		n = max(n, r.AllocsPerOp())
	}
	return n
}

// nsPerOp keeps the fraction that BenchmarkResult.NsPerOp drops. A benchmark may
// have measured the time by itself.
func nsPerOp(r testing.BenchmarkResult) float64 {
	if ns, ok := r.Extra["ns/op"]; ok {
		return ns
	}
	if r.N == 0 {
		return 0
	}
	return float64(r.T.Nanoseconds()) / float64(r.N)
}

// measure runs the rows that match, contender by contender in each round, and
// tells progress on w.
func measure(rows []row, s settings, w io.Writer) (results []result, err error) {
	for _, r := range rows {
		if !s.match.MatchString(r.name) {
			continue
		}
		for _, cpu := range s.cpus {
			fmt.Fprintf(w, "running %s -cpu %d\n", r.name, cpu)
			res, err := measureRow(r, cpu, s.count)
			if err != nil {
				return nil, err
			}
			results = append(results, res)
		}
	}
	return results, nil
}

func measureRow(r row, cpu, count int) (result, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cpu))
	res := result{row: r, cpu: cpu, peers: make([]sample, len(r.peers))}
	for range count {
		if err := res.ours.measure(r.ours); err != nil {
			return res, fmt.Errorf("%s: keelson: %w", r.name, err)
		}
		for i, p := range r.peers {
			if err := res.peers[i].measure(p.bench); err != nil {
				return res, fmt.Errorf("%s: %s: %w", r.name, p.name, err)
			}
		}
	}
	return res, nil
}

// measure adds a round. testing.Benchmark begins with a collection, so that nobody
// pays for the garbage of the one before. It returns a number for a benchmark that
// has failed, too: zero or that of the calls up to then.
func (s *sample) measure(bench func(b *testing.B)) error {
	failed := false
	round := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		defer func() { failed = failed || b.Failed() }()
		bench(b)
	})
	if failed {
		return errors.New("the workload did not do what the row says")
	}
	s.add(round)
	return nil
}

func aboveCeiling(results []result) (over []string) {
	for _, r := range results {
		if n := r.ours.allocs(); n > r.row.allocs {
			over = append(over, fmt.Sprintf("%s: %d allocs/op, at most %d", r.row.name, n, r.row.allocs))
		}
	}
	return over
}
