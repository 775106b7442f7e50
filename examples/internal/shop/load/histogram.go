package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets whose width is an eighth of their power
// of two, so a quantile is at most 12.5 % too high and never too low. The zero
// value is empty; it is a plain value that may be copied and subtracted. It
// reaches from a microsecond to over an hour.
//
// Buckets and no samples: percentiles of a span are the difference of two copies,
// and those of several spans their sum, which no list of percentiles can offer.
type Histogram struct {
	count   uint64
	buckets [buckets]uint32
}

const (
	subBits = 3
	buckets = (33 - subBits) << subBits
)

// bucket is the index of d: exact below 8 µs, then eight buckets per octave.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 1<<subBits {
		return int(us)
	}
	exp := bits.Len64(us) - subBits - 1
	return min((exp+1)<<subBits+int(us>>exp)-1<<subBits, buckets-1)
}

// upper is the largest duration that falls into bucket i, in whole microseconds.
func upper(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i) * time.Microsecond
	}
	exp := i>>subBits - 1
	us := uint64(1<<subBits+i&(1<<subBits-1)+1)<<exp - 1
	return time.Duration(us) * time.Microsecond
}

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	h.count++
	h.buckets[bucket(d)]++
}

// Merge adds what o holds.
func (h *Histogram) Merge(o *Histogram) {
	h.count += o.count
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// Minus is what was added to h since earlier, a former copy of it.
func (h Histogram) Minus(earlier Histogram) Histogram {
	h.count -= earlier.count
	for i, n := range earlier.buckets {
		h.buckets[i] -= n
	}
	return h
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 { return h.count }

// Quantile is the smallest bucket's upper end below which a share q lies; 0 when
// the histogram is empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	// The nearest rank, and the upper end of its bucket: too high rather than too
	// low, so that no bound is kept by the error of measurement.
	rank := uint64(q*float64(h.count-1)) + 1
	var seen uint64
	for i, n := range h.buckets {
		if seen += uint64(n); seen >= rank {
			return upper(i)
		}
	}
	return upper(buckets - 1)
}
