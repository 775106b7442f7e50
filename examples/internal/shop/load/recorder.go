package load

import (
	"sync"
	"time"
)

// Counts are the fates of requests. Every one that was sent and is not in
// flight is exactly one of ok, fallback, refused, failed and broken.
type Counts struct {
	Sent     uint64
	OK       uint64 // 2xx, with what was asked for
	Fallback uint64 // 2xx with less, and saying so: stale data, an order that waits
	Refused  uint64 // 503 or 429 with a Retry-After: a plain "not now"
	Failed   uint64 // any other answer that the API names: 4xx, 504
	Broken   uint64 // what the API never promises: 500, 502, a cut connection, no answer
}

func (c Counts) plus(d Counts) Counts {
	return Counts{
		c.Sent + d.Sent, c.OK + d.OK, c.Fallback + d.Fallback,
		c.Refused + d.Refused, c.Failed + d.Failed, c.Broken + d.Broken,
	}
}

// Minus is what was added to c since earlier.
func (c Counts) Minus(earlier Counts) Counts {
	return Counts{
		c.Sent - earlier.Sent, c.OK - earlier.OK, c.Fallback - earlier.Fallback,
		c.Refused - earlier.Refused, c.Failed - earlier.Failed, c.Broken - earlier.Broken,
	}
}

// Unserved is every request that ended without what it asked for.
func (c Counts) Unserved() uint64 { return c.Refused + c.Failed + c.Broken }

// Totals are the counts and latencies of one operation since the start.
type Totals struct {
	Counts
	Latency Histogram
}

// Recent is what happened within a span that ends now.
type Recent struct {
	Counts
	P50, P99, P999 time.Duration // of requests that ended within the span; 0 without any
}

const (
	slot  = 250 * time.Millisecond
	slots = 41 // ten seconds, and the one that is being filled
)

// recorder keeps one operation's totals and its last ten seconds in slots. A slot
// of a quarter second is a compromise: shorter ones make percentiles of a handful
// of requests, longer ones a chart that lags behind what one sees.
type recorder struct {
	mu    sync.Mutex
	total Totals
	slots [slots]struct {
		number int64 // since the start of time; tells whether the slot is stale
		counts Counts
		hist   Histogram
	}
}

// sent counts a request at the time it was due.
func (r *recorder) sent() {
	r.add(Counts{Sent: 1}, -1)
}

// ended counts the fate of a request and its latency.
func (r *recorder) ended(c Counts, latency time.Duration) {
	r.add(c, latency)
}

// add counts c now. A slot is reused when its time comes round again; its
// number tells that what it holds is ten seconds old.
func (r *recorder) add(c Counts, latency time.Duration) {
	number := time.Now().UnixNano() / int64(slot)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[number%slots]
	if s.number != number {
		s.number, s.counts, s.hist = number, Counts{}, Histogram{}
	}
	s.counts = s.counts.plus(c)
	r.total.Counts = r.total.plus(c)
	if latency >= 0 {
		s.hist.Add(latency)
		r.total.Latency.Add(latency)
	}
}

// totals returns a copy.
func (r *recorder) totals() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// recent sums the full slots within span. The one that is being filled is left
// out: it would make every rate too low by what is still to come.
func (r *recorder) recent(span time.Duration) Recent {
	now := time.Now().UnixNano() / int64(slot)
	var hist Histogram
	var out Recent
	r.mu.Lock()
	for i := range r.slots {
		s := &r.slots[i]
		if age := now - s.number; age >= 1 && age <= int64(span/slot) {
			out.Counts = out.plus(s.counts)
			hist.Merge(&s.hist)
		}
	}
	r.mu.Unlock()
	out.P50, out.P99, out.P999 = hist.Quantile(0.5), hist.Quantile(0.99), hist.Quantile(0.999)
	return out
}
