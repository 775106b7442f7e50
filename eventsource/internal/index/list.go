package index

import "sync/atomic"

// List is the ascending positions of the events that carry one name. The zero
// List is empty.
//
// An element never changes once n covers it, and a full array is replaced by a
// copy, never reused: so a reader that loads n and then the array sees n final
// elements, whatever the writer does.
type List struct {
	n     atomic.Uint32
	array atomic.Pointer[[]uint32]
}

// Append adds pos, which is above all before it. One writer at a time.
func (l *List) Append(pos uint32) {
	n := l.n.Load()
	if p := l.array.Load(); p != nil && int(n) < len(*p) {
		(*p)[n] = pos
	} else {
		l.room(n, 1)[0] = pos
	}
	l.n.Store(n + 1)
}

// Reserve makes room for count more, so that what follows does not grow the list
// step by step.
func (l *List) Reserve(count int) { l.room(l.n.Load(), count) }

// Extend adds count positions, which fill writes: for who has many at once.
func (l *List) Extend(count int, fill func(to []uint32)) {
	n := l.n.Load()
	fill(l.room(n, count))
	l.n.Store(n + uint32(count))
}

// room returns the count elements behind the first n.
func (l *List) room(n uint32, count int) []uint32 {
	p := l.array.Load()
	if p == nil || int(n)+count > len(*p) {
		grown := make([]uint32, max(2, 2*int(n), int(n)+count))
		if p != nil {
			copy(grown, *p)
		}
		p = &grown
		l.array.Store(p)
	}
	return (*p)[n : int(n)+count]
}

// Len returns the number of positions.
func (l *List) Len() int { return int(l.n.Load()) }

// Last returns the highest position, 0 when empty.
func (l *List) Last() uint32 {
	if n := l.n.Load(); n > 0 {
		return (*l.array.Load())[n-1]
	}
	return 0
}

// Positions returns what the list holds now; it must not be changed.
func (l *List) Positions() []uint32 {
	if n := l.n.Load(); n > 0 {
		return (*l.array.Load())[:n:n]
	}
	return nil
}

// Chunks is an array that grows and whose elements never move. The zero Chunks
// is empty.
type Chunks[T any] struct {
	dir atomic.Pointer[[]*[chunk]T]
}

const chunk = 256

// At returns the i-th element, which Grow has covered.
func (c *Chunks[T]) At(i uint32) *T { return &(*c.dir.Load())[i/chunk][i%chunk] }

// Room makes room for element i and returns it with those that follow it in
// memory, at least itself: for who fills many in a row.
func (c *Chunks[T]) Room(i uint32) []T {
	c.Grow(i)
	return (*c.dir.Load())[i/chunk][i%chunk:]
}

// Grow makes room for element i. One writer at a time; readers may ask for the
// elements that were published to them, by whatever means their owner has.
func (c *Chunks[T]) Grow(i uint32) {
	var dir []*[chunk]T
	if p := c.dir.Load(); p != nil {
		dir = *p
	}
	at := int(i / chunk)
	if at >= len(dir) {
		grown := make([]*[chunk]T, max(8, 2*len(dir), at+1))
		copy(grown, dir)
		dir = grown
		c.dir.Store(&grown)
	}
	if dir[at] == nil { // beyond all that readers have been told of
		dir[at] = new([chunk]T)
	}
}
