package cache

// cells is an array of entries with their weights beside them, if anybody weighs:
// most caches do not, and an entry of a string key has no byte to spare.
type cells[K comparable, V any] struct {
	at      []*entry[K, V]
	weights []int64 // nil: all weigh nothing
}

// grown returns a copy of n cells, with room for weights if weighted.
func (c cells[K, V]) grown(n int, weighted bool) cells[K, V] {
	next := cells[K, V]{at: make([]*entry[K, V], n)}
	copy(next.at, c.at)
	if weighted {
		next.weights = make([]int64, n)
		copy(next.weights, c.weights)
	}
	return next
}

// set puts e into cell i and tells it so; flag is inWindow or zero.
func (c cells[K, V]) set(i int, e *entry[K, V], weight int64, flag uint32) {
	c.at[i] = e
	e.pos = uint32(i) | flag
	if c.weights != nil {
		c.weights[i] = weight
	}
}

func (c cells[K, V]) weight(i int) int64 {
	if c.weights == nil {
		return 0
	}
	return c.weights[i]
}

// A window is a queue, first in first out, in a ring that grows.
type window[K comparable, V any] struct {
	head, n int
	total   int64 // weight of all
	cells[K, V]
}

// cell is where the i-th oldest stands.
func (w *window[K, V]) cell(i int) int {
	if i += w.head; i >= len(w.at) {
		i -= len(w.at)
	}
	return i
}

// push adds the youngest.
func (w *window[K, V]) push(e *entry[K, V], weight int64, weighted bool, most int) {
	if w.n == len(w.at) {
		w.grow(weighted, most)
	}
	w.set(w.cell(w.n), e, weight, inWindow)
	w.n++
	w.total += weight
}

// grow doubles the ring, up to what it will ever hold.
func (w *window[K, V]) grow(weighted bool, most int) {
	n := max(8, 2*w.n)
	if w.n < most {
		n = min(n, most)
	}
	next := window[K, V]{cells: cells[K, V]{}.grown(n, weighted), n: w.n, total: w.total}
	for i := range w.n {
		c := w.cell(i)
		next.set(i, w.at[c], w.weight(c), inWindow)
	}
	*w = next
}

// pop takes the oldest.
func (w *window[K, V]) pop() (e *entry[K, V], weight int64) {
	e, weight = w.at[w.head], w.weight(w.head)
	w.at[w.head] = nil
	w.head = w.cell(1)
	w.n--
	w.total -= weight
	return e, weight
}

// remove takes the entry in cell i. The oldest moves there, so that the ring has
// no holes: a place in line matters less than that every step is O(1).
func (w *window[K, V]) remove(i int) {
	w.total -= w.weight(i)
	first, head := w.head, w.at[w.head]
	weight := w.weight(first)
	w.at[first] = nil
	if first != i {
		w.set(i, head, weight, inWindow)
	}
	w.head = w.cell(1)
	w.n--
}

// A ring is the main queue: a CLOCK without holes, whose hands go by index.
type ring[K comparable, V any] struct {
	cells[K, V]
	n int
}

// push adds e behind all others.
func (r *ring[K, V]) push(e *entry[K, V], weight int64, weighted bool, most int) {
	if r.n == len(r.at) {
		n := max(8, 2*r.n)
		if r.n < most {
			n = min(n, most)
		}
		r.cells = r.grown(n, weighted)
	}
	r.set(r.n, e, weight, 0)
	r.n++
}

// remove takes the entry in cell i. The last one moves there.
func (r *ring[K, V]) remove(i int) {
	r.n--
	if last := r.at[r.n]; i != r.n {
		r.set(i, last, r.weight(r.n), 0)
	}
	r.at[r.n] = nil
}
