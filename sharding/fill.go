package sharding

import (
	"math/bits"
	"slices"
)

// A fill computes the table of a SlotConfig, in O(slots * shards).
type fill struct {
	cfg   *SlotConfig
	ids   []ID        // of all members, sorted
	live  []candidate // not drained, by ID
	zones []int       // by member; those without a zone have one of their own
	equal bool        // all weights are

	draws []uint64 // the u of each live shard for the slot at hand
}

// candidate is a shard that takes part in the placement.
type candidate struct {
	hash   uint64
	weight uint32
	member uint16 // its place among all IDs
	id     ID
}

func newFill(cfg *SlotConfig, ids []ID) *fill {
	f := &fill{cfg: cfg, ids: ids, zones: make([]int, len(ids))}
	named := make(map[string]int)
	for _, s := range cfg.Shards {
		m, _ := slices.BinarySearch(ids, s.ID)
		zone, seen := named[s.Zone]
		if !seen || s.Zone == "" {
			zone = m
			named[s.Zone] = m
		}
		f.zones[m] = zone
		if !s.Drain {
			f.live = append(f.live, candidate{hash: String(string(s.ID)), weight: s.weight(), member: uint16(m), id: s.ID})
		}
	}
	slices.SortFunc(f.live, func(a, b candidate) int { return int(a.member) - int(b.member) })
	f.draws = make([]uint64, len(f.live))
	f.equal = !slices.ContainsFunc(f.live, func(c candidate) bool { return c.weight != f.live[0].weight })
	return f
}

// table returns the owners of every slot, side by side.
func (f *fill) table() []uint16 {
	n, owners := f.cfg.slots(), f.cfg.owners()
	firsts := f.firsts(n)
	f.assign(firsts)
	if owners == 1 {
		return firsts
	}
	table := make([]uint16, n*owners)
	for x, first := range firsts {
		row := table[x*owners : (x+1)*owners]
		row[0] = first
		f.further(x, row)
	}
	return table
}

// firsts returns the first owner of every slot, before any is assigned.
func (f *fill) firsts(n int) []uint16 {
	firsts := make([]uint16, n)
	if f.cfg.CapPercent > 0 {
		f.capped(firsts)
		return firsts
	}
	for x := range firsts {
		f.draw(x)
		firsts[x] = f.live[f.best(-1)].member
	}
	return firsts
}

// draw has all live shards bid for slot x.
func (f *fill) draw(x int) {
	common := seed(uint64(x))
	for i := range f.live {
		f.draws[i] = draw(common, f.live[i].hash)
	}
}

// beats orders the bids of two live shards.
func (f *fill) beats(i, j int) bool {
	if f.equal { // what bid.beats comes to, since live is sorted by ID
		return f.draws[i] > f.draws[j] || f.draws[i] == f.draws[j] && i < j
	}
	a := bid{f.draws[i], f.live[i].weight, f.live[i].id}
	b := bid{f.draws[j], f.live[j].weight, f.live[j].id}
	return a.beats(&b)
}

// best returns the live shard that bids most, or most below shard last unless
// that is negative.
func (f *fill) best(last int) int {
	best := -1
	for i := range f.live {
		if (last < 0 || f.beats(last, i)) && (best < 0 || f.beats(i, best)) {
			best = i
		}
	}
	return best
}

// assign overrides the first owners that are set by hand.
func (f *fill) assign(firsts []uint16) {
	for _, r := range f.cfg.Assigned {
		from, to := slotsOf(r, len(firsts))
		m, _ := slices.BinarySearch(f.ids, r.Owner)
		for x := from; x < to; x++ {
			firsts[x] = uint16(m)
		}
	}
}

// further fills row, whose first owner is set, with the best bid among the
// zones used least, again and again. So zones repeat only when all are used,
// and an owner depends on those before it alone: a longer row begins with the
// shorter one, and losing a shard changes nothing above its place.
func (f *fill) further(x int, row []uint16) {
	f.draw(x)
	for n := 1; n < len(row); n++ {
		if row[n] = f.next(row[:n]); row[n] == nobody {
			for ; n < len(row); n++ {
				row[n] = nobody // is in no zone: nothing to ask for the rest
			}
		}
	}
}

// next returns the owner that follows the chosen ones, or nobody.
func (f *fill) next(chosen []uint16) uint16 {
	best, least := -1, 0
	for i := range f.live {
		if best >= 0 && least == 0 && !f.beats(i, best) {
			continue // cannot win, whatever its zone: this skips nearly all
		}
		uses, taken := 0, false
		for _, m := range chosen {
			taken = taken || m == f.live[i].member
			if f.zones[m] == f.zones[f.live[i].member] {
				uses++
			}
		}
		if !taken && (best < 0 || uses < least || uses == least && f.beats(i, best)) {
			best, least = i, uses
		}
	}
	if best < 0 {
		return nobody
	}
	return f.live[best].member
}

// capped fills firsts so that no shard has more slots than its cap. It is the
// stable matching of Gale and Shapley in which slots propose: each slot asks
// the shards in the order of their bids, a full shard keeps the slots that it
// bids most for, and the one it lets go asks on. That matching is unique, so
// the order of work does not matter, and a slot stands with the best shard
// that has room for it.
func (f *fill) capped(firsts []uint16) {
	claims := make([]claims, len(f.live))
	caps := f.caps(len(firsts))
	for x := range firsts {
		c, last := claim{slot: x}, -1
		for {
			f.draw(c.slot)
			i := f.best(last)
			c.u = f.draws[i]
			if len(claims[i]) < caps[i] {
				claims[i].add(c)
				break
			}
			c, last = claims[i].swap(c), i // the slot that i lets go asks on
		}
	}
	for i, held := range claims {
		for _, c := range held {
			firsts[c.slot] = f.live[i].member
		}
	}
}

// caps returns how many slots each live shard may have. Rounded up, they
// always suffice for all slots.
func (f *fill) caps(n int) []int {
	sum := uint64(0)
	for _, c := range f.live {
		sum += uint64(c.weight)
	}
	caps := make([]int, len(f.live))
	for i, c := range f.live {
		hi, lo := bits.Mul64(uint64(n)*uint64(c.weight), uint64(f.cfg.CapPercent))
		caps[i] = n
		if hi < 100*sum { // else the quotient is far beyond n
			q, rest := bits.Div64(hi, lo, 100*sum)
			caps[i] = int(min(q, uint64(n)))
			if rest > 0 && caps[i] < n {
				caps[i]++
			}
		}
	}
	return caps
}

// A claim is a slot that a shard holds, with the shard's bid for it.
type claim struct {
	u    uint64
	slot int
}

// weaker reports whether a shard would rather let go of c: the smaller bid,
// then the higher slot.
func (c claim) weaker(d claim) bool { return c.u < d.u || c.u == d.u && c.slot > d.slot }

// claims is a heap with the weakest claim in front.
type claims []claim

func (h *claims) add(c claim) {
	*h = append(*h, c)
	a := *h
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if !a[i].weaker(a[up]) {
			return
		}
		a[i], a[up] = a[up], a[i]
		i = up
	}
}

// swap takes c in for the weakest claim, which it returns; that is c itself
// if no other is weaker.
func (h claims) swap(c claim) claim {
	if !h[0].weaker(c) {
		return c
	}
	out := h[0]
	h[0] = c
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < len(h) && h[down].weaker(h[least]) {
				least = down
			}
		}
		if least == i {
			return out
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
