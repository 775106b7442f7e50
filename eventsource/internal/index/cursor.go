package index

import (
	"slices"
	"sort"
)

// Cursor yields the positions that match a query, in order and each once. Make
// one with NewCursor and Add its items. It is one goroutine's.
type Cursor struct {
	after, upTo uint32
	back        bool
	items       []item
}

// NewCursor returns a cursor over after < position <= upTo, from the highest
// down if back.
func NewCursor(after, upTo uint32, back bool) *Cursor {
	return &Cursor{after: after, upTo: upTo, back: back}
}

// item is an intersection: a position matches if each of its groups has it.
// Without groups it is every position.
type item struct {
	groups []group
	head   uint32 // the first match that is not yielded yet
	ended  bool
}

// group is a union of lists.
type group []run

// run is what is left of a list, within the bounds.
type run []uint32

// Add adds an alternative. byID finds the position of an id; it may be nil if
// the item has none.
func (c *Cursor) Add(x *Index, it Item, byID func(id string) (pos uint32, ok bool)) {
	var new item
	for _, tag := range it.Tags {
		new.groups = append(new.groups, c.union(&x.Tags, []string{tag}))
	}
	if len(it.Streams) > 0 {
		new.groups = append(new.groups, c.union(&x.Streams, it.Streams))
	}
	if len(it.Types) > 0 {
		new.groups = append(new.groups, c.union(&x.Types, it.Types))
	}
	if len(it.IDs) > 0 {
		new.groups = append(new.groups, c.ids(it.IDs, byID))
	}
	// The shortest leads: the others are asked about its positions alone.
	slices.SortStableFunc(new.groups, func(a, b group) int { return a.len() - b.len() })
	if c.after >= c.upTo {
		new.ended = true
	}
	c.items = append(c.items, new)
	c.advance(&c.items[len(c.items)-1], c.start())
}

// Next returns the next position.
func (c *Cursor) Next() (pos uint32, ok bool) {
	for i := range c.items {
		if it := &c.items[i]; !it.ended && (!ok || c.before(it.head, pos)) {
			pos, ok = it.head, true
		}
	}
	if !ok {
		return 0, false
	}
	for i := range c.items {
		if it := &c.items[i]; !it.ended && it.head == pos {
			c.advance(it, c.beyond(pos))
		}
	}
	return pos, true
}

func (c *Cursor) start() uint32 {
	if c.back {
		return c.upTo
	}
	return c.after + 1
}

// beyond is the next position to look at. Backwards it may come to after, and
// forwards to one above upTo, which are out of bounds; it does not wrap, since
// positions end one below the largest number.
func (c *Cursor) beyond(pos uint32) uint32 {
	if c.back {
		return pos - 1
	}
	return pos + 1
}

func (c *Cursor) before(a, b uint32) bool { return a < b != c.back && a != b }

// advance sets head to the first match at from or beyond. Each group in turn
// names its first position there; whoever is further on makes all begin anew.
func (c *Cursor) advance(it *item, from uint32) {
	if it.ended || from <= c.after || from > c.upTo {
		it.ended = true
		return
	}
	for i := 0; i < len(it.groups); {
		pos, ok := c.seek(it.groups[i], from)
		switch {
		case !ok:
			it.ended = true
			return
		case pos == from:
			i++
		default:
			from, i = pos, 0
		}
	}
	it.head = from
}

// seek drops what lies before from, and returns the first position left.
func (c *Cursor) seek(g group, from uint32) (pos uint32, ok bool) {
	for i := range g {
		g[i] = g[i].drop(from, c.back)
		if len(g[i]) == 0 {
			continue
		}
		head := g[i][0]
		if c.back {
			head = g[i][len(g[i])-1]
		}
		if !ok || c.before(head, pos) {
			pos, ok = head, true
		}
	}
	return pos, ok
}

// drop cuts off positions below from, or above it if back. It gallops: cheap
// for a near one, logarithmic for a far one.
func (r run) drop(from uint32, back bool) run {
	n := len(r)
	if back {
		step := 1
		for step <= n && r[n-step] > from {
			step *= 2
		}
		low := max(0, n-step)
		return r[:low+sort.Search(n-step/2-low, func(i int) bool { return r[low+i] > from })]
	}
	step := 1
	for step <= n && r[step-1] < from {
		step *= 2
	}
	low := step / 2
	return r[low+sort.Search(min(step, n)-low, func(i int) bool { return r[low+i] >= from }):]
}

func (g group) len() (n int) {
	for _, r := range g {
		n += len(r)
	}
	return n
}

func (c *Cursor) union(n *Names, names []string) group {
	g := make(group, 0, len(names))
	for _, name := range names {
		if l := n.Find(name); l != nil {
			if r := c.within(l.Positions()); len(r) > 0 {
				g = append(g, r)
			}
		}
	}
	return g
}

func (c *Cursor) ids(ids []string, byID func(string) (uint32, bool)) group {
	var r []uint32
	for _, id := range ids {
		if pos, ok := byID(id); ok {
			r = append(r, pos)
		}
	}
	slices.Sort(r)
	return group{c.within(slices.Compact(r))}
}

func (c *Cursor) within(p []uint32) run {
	low := sort.Search(len(p), func(i int) bool { return p[i] > c.after })
	high := sort.Search(len(p), func(i int) bool { return p[i] > c.upTo })
	return run(p[low:max(low, high)])
}
