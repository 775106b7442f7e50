package sharding

import (
	"errors"
	"fmt"
)

// Topology is one version of the routing.
type Topology[K any] struct {
	// Epoch numbers the versions: at least 1, greater with every change.
	Epoch uint64

	// Map has the owners.
	Map Map[K]

	// Mirror has the owners as they shall be, or were: keys that it gives
	// another first owner than Map are moving, and writes to them go there
	// too. It is of the same kind as Map, with as many slots or buckets and
	// the same pins; ranges may be cut differently. Nil: nothing moves.
	Mirror Map[K]

	// ReadMirror lets reads of moving keys that tolerate lag use the mirror.
	ReadMirror bool

	// Block refuses writes to moving keys, for the moment of the cutover.
	Block bool
}

// same reports whether t and o route every key alike.
func (t *Topology[K]) same(o *Topology[K]) bool {
	if t.ReadMirror != o.ReadMirror || t.Block != o.Block || (t.Mirror == nil) != (o.Mirror == nil) {
		return false
	}
	return t.Map.same(o.Map) && (t.Mirror == nil || t.Mirror.same(o.Mirror))
}

// A class is what the routes to many parts have in common. Routes point at it,
// so what only moving keys need costs the others nothing.
type class struct {
	owner ID
	since uint64 // epoch at which the rest of this last changed
	fate
}

// fate is what happens to a part: nothing unless it is moving.
type fate struct {
	mirror ID
	read   bool // the mirror may be read
	block  bool
}

// A snapshot is a topology made ready for lookups. It never changes, so one
// atomic load of its pointer gives an answer that is consistent in itself.
type snapshot[K any] struct {
	epoch   uint64
	hash    Hash[K]  // of slots
	shift   uint8    // of slots
	table   []uint32 // part of grid -> class
	classes []class
	grid    Map[K] // topo.Map, cut where its Mirror is cut as well
	topo    Topology[K]
	slots   *Slots[K] // topo.Map if it is that: no interface call then

	superseded chan struct{} // closed once another one is in force
}

// class returns the class of the key.
func (s *snapshot[K]) class(key K) *class {
	if s.hash != nil {
		return &s.classes[s.table[slot(s.hash(key), s.shift)]]
	}
	return &s.classes[s.table[s.grid.part(key)]]
}

// snap makes t ready. old is what it will replace, nil for the first one.
func snap[K any](t Topology[K], old *snapshot[K]) (*snapshot[K], error) {
	if t.Epoch == 0 {
		return nil, errors.New("sharding: Topology.Epoch is 0, must be at least 1")
	}
	if t.Map == nil {
		return nil, errors.New("sharding: Topology.Map is nil")
	}
	s := &snapshot[K]{epoch: t.Epoch, topo: t, grid: t.Map, superseded: make(chan struct{})}
	if t.Mirror != nil {
		var err error
		if s.grid, err = t.Map.refine(t.Mirror); err != nil {
			return nil, fmt.Errorf("sharding: Topology.Mirror does not fit Map: it %w", err)
		}
	}
	if slots, ok := t.Map.(*Slots[K]); ok {
		s.slots, s.hash, s.shift = slots, slots.hash, slots.shift
	}
	s.classify(old)
	return s, nil
}

// classify fills table and classes.
//
// Since of a part is the greatest Since of the old parts that it shares keys
// with, if all of them had its owner and fate, else the new epoch. Too high
// costs its callers a refresh; too low would admit a stale write.
func (s *snapshot[K]) classify(old *snapshot[K]) {
	s.table = make([]uint32, s.grid.parts())
	fates := s.fates()
	s.inherit(old, fates)
	var memo []uint32 // class of old -> class of s + 1
	if old != nil {
		memo = make([]uint32, len(old.classes))
	}
	type look struct {
		owner ID
		fate
	}
	changed := make(map[look]uint32)
	for part := range s.table {
		if k := s.table[part]; k > 0 {
			if memo[k-1] == 0 {
				s.classes = append(s.classes, old.classes[k-1])
				memo[k-1] = uint32(len(s.classes))
			}
			s.table[part] = memo[k-1] - 1
			continue
		}
		l := look{owner: s.grid.owner(part, 0)}
		if fates != nil {
			l.fate = fates[part]
		}
		c, ok := changed[l]
		if !ok {
			c = uint32(len(s.classes))
			changed[l] = c
			s.classes = append(s.classes, class{owner: l.owner, since: s.epoch, fate: l.fate})
		}
		s.table[part] = c
	}
}

// fates returns the fate of each part, nil if nothing moves.
func (s *snapshot[K]) fates() []fate {
	if s.topo.Mirror == nil {
		return nil
	}
	fates := make([]fate, len(s.table))
	s.grid.overlap(s.topo.Mirror, func(part, mirrored int) {
		if m := s.topo.Mirror.owner(mirrored, 0); m != "" && m != s.grid.owner(part, 0) {
			fates[part] = fate{mirror: m, read: s.topo.ReadMirror, block: s.topo.Block}
		}
	})
	return fates
}

// inherit sets the table, for each part, to the old class that it keeps, plus
// 1, or to 0 for a part that changed. The table serves twice, because an
// install's garbage is what lookups beside it would feel.
func (s *snapshot[K]) inherit(old *snapshot[K], fates []fate) {
	if old == nil {
		return
	}
	const changed = 1<<32 - 1
	kept := s.table
	s.grid.overlap(old.grid, func(part, was int) {
		c := old.table[was]
		var f fate
		if fates != nil {
			f = fates[part]
		}
		switch k := kept[part]; {
		case old.classes[c].owner != s.grid.owner(part, 0) || old.classes[c].fate != f:
			kept[part] = changed
		case k == 0 || k != changed && old.classes[c].since > old.classes[k-1].since:
			kept[part] = c + 1
		}
	})
	for part, k := range kept {
		if k == changed {
			kept[part] = 0
		}
	}
}

// moved returns the share of parts that have another owner than in old, of
// those that have one now or had one.
func (s *snapshot[K]) moved(old *snapshot[K]) float64 {
	owned, differs := make([]bool, len(s.table)), make([]bool, len(s.table))
	comparable := s.grid.overlap(old.grid, func(part, was int) {
		now, before := s.grid.owner(part, 0), old.grid.owner(was, 0)
		owned[part] = owned[part] || now != "" || before != ""
		differs[part] = differs[part] || now != before
	})
	if !comparable {
		return 1
	}
	of, n := 0, 0
	for part := range owned {
		if owned[part] {
			of++
		}
		if differs[part] {
			n++
		}
	}
	return float64(n) / float64(max(of, 1))
}
