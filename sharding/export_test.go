package sharding

import "cmp"

// For tests of the numbers that placements rest on.
var (
	LogTable = &logTable
	Cost     = cost
)

// Beats compares two bids.
func Beats(u uint64, weight uint32, id ID, otherU uint64, otherWeight uint32, otherID ID) bool {
	a, b := bid{u, weight, id}, bid{otherU, otherWeight, otherID}
	return a.beats(&b)
}

// OwnerLists returns the owners of every slot.
func OwnerLists[K any](s *Slots[K]) [][]ID {
	lists := make([][]ID, s.parts())
	for i := range lists {
		for _, m := range s.row(i) {
			if m != nobody {
				lists[i] = append(lists[i], s.ids[m])
			}
		}
	}
	return lists
}

// SearchSteps returns how many bounds a search for key compares with it.
func SearchSteps(bounds []string, key string) (steps int) {
	f := newTextFinder(bounds)
	f.compare = func(a, b string) int { steps++; return cmp.Compare(a, b) }
	f.part(key)
	return steps
}

// Draw is the u of the shard whose ID hashes to id, for x.
func Draw(x, id uint64) uint64 { return draw(seed(x), id) }

// JoinsRetired reports whether a caller who looked up the generation before it
// was retired by change is admitted to it after.
func JoinsRetired[K any](g *Guard[K], change func()) bool {
	gen := g.cur.Load()
	change()
	g.advance()
	return g.join(gen)
}

// DrainsUnder reports whether a leaver who saw no calls, and was stopped while
// another call entered and change retired the generation, drains it.
func DrainsUnder[K any](g *Guard[K], change func()) bool {
	gen := g.enter()
	change()
	g.advance()
	gen.settle() // the stopped leaver goes on
	select {
	case <-gen.drained:
		return true
	default:
		gen.leave()
		<-gen.drained
		return false
	}
}
