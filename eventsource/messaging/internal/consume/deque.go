package consume

// deque is a ring that grows. Slots given up are cleared, so that it keeps no
// message alive that has been settled.
type deque[E any] struct {
	ring []E
	head int
	n    int
}

func (d *deque[E]) len() int { return d.n }

func (d *deque[E]) pushBack(e E) {
	d.grow()
	d.ring[(d.head+d.n)&(len(d.ring)-1)] = e
	d.n++
}

func (d *deque[E]) pushFront(e E) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.ring[d.head] = e
	d.n++
}

func (d *deque[E]) popFront() (e E) {
	var none E
	e, d.ring[d.head] = d.ring[d.head], none
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	return e
}

// grow makes room for one more. The length of the ring is a power of two, so
// that positions wrap with a mask.
func (d *deque[E]) grow() {
	if d.n < len(d.ring) {
		return
	}
	ring := make([]E, max(2*len(d.ring), 4))
	k := copy(ring, d.ring[d.head:])
	copy(ring[k:], d.ring[:d.head])
	d.ring, d.head = ring, 0
}
