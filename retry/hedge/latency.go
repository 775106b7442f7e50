package hedge

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Latency is a quantile of the last 512 to 1024 latencies, for [Policy.Latency].
// Make it with [NewLatency] and share it among the calls to one backend. It is
// lock-free and takes 4 KiB; its error is that of a bucket, 0 to +12.5 %.
//
// A primary that was cancelled, because an extra attempt was faster or the
// caller left, would have taken longer than it did. It is counted as such, by
// the estimator of Kaplan and Meier (1958). Taken for complete, those of
// impatient callers would pull the quantile down; left out, those of hedged
// calls would, since only the slow ones are hedged, and each step down would
// hedge more.
type Latency struct {
	tail        float64 // the share of calls that may take longer
	records     atomic.Uint64
	estimate    atomic.Int64 // the quantile; 0 before there is one
	estimating  atomic.Bool
	generations [2]generation
}

// generation counts the latencies of 512 calls. Of the two, one fills while the
// other one keeps what was before, and is then cleared in turn. Halving all
// counts instead would keep single ones for ever.
type generation [2][buckets]atomic.Uint32

// kind says what is known of a latency.
type kind int

const (
	completed kind = iota // it took so long
	censored              // it would have taken longer
)

const (
	generationSize = 512
	estimateEvery  = 64
	estimateFrom   = 100

	// Eight buckets per octave, the first of which begins at 1 µs and the last
	// ends at 72 minutes.
	buckets   = 32 * perOctave
	perOctave = 8
	unit      = time.Microsecond / perOctave
)

// NewLatency makes an estimator of the given quantile. With 0.95, at most about
// 5 % of calls are hedged. It panics unless 0 < quantile < 1.
func NewLatency(quantile float64) *Latency {
	if !(quantile > 0 && quantile < 1) {
		panic(fmt.Sprintf("hedge: NewLatency quantile is %v, must be above 0 and below 1", quantile))
	}
	return &Latency{tail: 1 - quantile}
}

// Observe notes how long a completed call took. Do does it for its primaries.
func (l *Latency) Observe(d time.Duration) { l.record(d, completed) }

// Delay is the quantile, and false before 100 observations.
func (l *Latency) Delay() (time.Duration, bool) {
	d := time.Duration(l.estimate.Load())
	return d, d > 0
}

func (l *Latency) record(d time.Duration, k kind) {
	n := l.records.Add(1)
	g := &l.generations[(n-1)/generationSize%2]
	if n > generationSize && n%generationSize == 1 {
		g.clear()
	}
	g[k][bucket(d)].Add(1)
	if n == estimateFrom || n > estimateFrom && n%estimateEvery == 0 {
		l.update()
	}
}

func (g *generation) clear() {
	for k := range g {
		for i := range g[k] {
			g[k][i].Store(0)
		}
	}
}

// update computes the estimate anew, unless another goroutine is at it.
func (l *Latency) update() {
	if !l.estimating.CompareAndSwap(false, true) {
		return
	}
	defer l.estimating.Store(false)
	var counts [2][buckets]uint32
	for g := range l.generations {
		for k := range counts {
			for i := range counts[k] {
				counts[k][i] += l.generations[g][k][i].Load()
			}
		}
	}
	l.estimate.Store(int64(quantile(&counts, l.tail)))
}

// quantile is the least time that no more than the given share of calls
// survives. The survival curve falls at each completed call by its share in
// those that ran as long; a censored one leaves without a step. A quantile
// beyond the last completed call is the largest time seen.
func quantile(counts *[2][buckets]uint32, tail float64) time.Duration {
	atRisk := uint32(0)
	for k := range counts {
		for _, c := range counts[k] {
			atRisk += c
		}
	}
	survival, last := 1.0, 0
	for i := range buckets {
		done, left := counts[completed][i], counts[censored][i]
		if done+left == 0 {
			continue
		}
		last = i
		survival *= 1 - float64(done)/float64(atRisk)
		if survival <= tail+1e-9 { // 95 steps of one in a hundred do not add up to exactly 0.05
			break
		}
		atRisk -= done + left
	}
	return upperEdge(last)
}

// bucket is the number of d's bucket: the octave of d in units of 1/8 µs, and
// the three bits below its highest one.
func bucket(d time.Duration) int {
	units := uint64(max(d/unit, perOctave))
	octave := bits.Len64(units) - bits.Len64(perOctave)
	return min(octave*perOctave+int(units>>octave)-perOctave, buckets-1)
}

func upperEdge(bucket int) time.Duration {
	octave, step := bucket/perOctave, bucket%perOctave
	return unit * time.Duration(perOctave+step+1) << octave
}
