package eventsource

import "sort"

// The most that a ring holds; what is older is dropped.
const (
	ringEvents = 8192
	ringBytes  = 64 << 20
)

// A ring has every event that matches in (low, high].
type ring struct {
	low, high Position
	slots     []ringed // grows to ringEvents, then wraps
	start, n  int      // the oldest, and how many
	bytes     int      // of Data
}

type ringed struct {
	Recorded
	part  int
	taken bool // Event belongs to an Apply by now, which may change it
}

func (r *ring) at(i int) *ringed { return &r.slots[(r.start+i)%len(r.slots)] }

// collect takes at most limit events of a partition after `after`, not beyond
// bound if that is not 0. It is not ok if the ring does not have them, or not
// any more.
func (r *ring) collect(part int, after, bound Position, limit int) (b Batch, ok bool) {
	if after < r.low {
		return b, false
	}
	b.Through = max(after, r.high)
	if bound > 0 {
		b.Through = min(b.Through, bound)
	}
	for i := sort.Search(r.n, func(i int) bool { return r.at(i).Position > after }); i < r.n; i++ {
		e := r.at(i)
		if e.Position > b.Through {
			break
		}
		if e.part != part {
			continue
		}
		if e.taken {
			return Batch{}, false
		}
		b.Events = append(b.Events, e.Recorded)
		r.bytes -= len(e.Data)
		e.Event, e.taken = Event{}, true
		if len(b.Events) == limit {
			b.Through = e.Position
			break
		}
	}
	return b, true
}

// push adds the newest event, and drops the oldest where it must.
func (r *ring) push(e ringed) {
	for r.n == ringEvents || r.n > 0 && r.bytes+len(e.Data) > ringBytes {
		oldest := r.at(0)
		r.low = oldest.Position
		r.bytes -= len(oldest.Data)
		*oldest = ringed{}
		r.start, r.n = (r.start+1)%len(r.slots), r.n-1
	}
	if r.n == len(r.slots) {
		r.grow()
	}
	r.n++
	r.bytes += len(e.Data)
	*r.at(r.n - 1) = e
}

func (r *ring) grow() {
	slots := make([]ringed, min(max(defaultBatch, 2*r.n), ringEvents))
	for i := range r.n {
		slots[i] = *r.at(i)
	}
	r.slots, r.start = slots, 0
}
