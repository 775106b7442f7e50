package sharding

import "math/bits"

// Rendezvous hashing ("Using Name-Based Mappings to Increase Hit Rates",
// Thaler and Ravishankar 1998) gives each shard a score per key; the best one
// owns the key. A shard that joins or leaves takes or gives exactly its own
// keys, since nobody else's score depends on it. Weights follow "Weighted
// Distributed Hash Tables" (Schindelhauer and Schomaker 2005): with u uniform
// in (0, 1), the smallest -log(u)/weight wins in proportion to the weights.

// seed is what the bids for x have in common.
func seed(x uint64) uint64 { return mix(x + golden) }

// draw is a shard's u, as a fraction of 2^64. id is the xxHash64 of its ID,
// never of a text made from ID and a number: "node1"+"10" is "node11"+"0".
func draw(seed, id uint64) uint64 { return mix(seed ^ id) }

// cost is -log2(u/2^64) in units of 2^-32, linear between the points of
// logTable. Integers only: a float that one platform rounds differently would
// be a key with two owners. It never grows with u.
func cost(u uint64) uint64 {
	u |= 1 // 0 has no logarithm
	n := bits.LeadingZeros64(u)
	m := u << n
	i, r := m>>53&1023, m>>21&(1<<32-1)
	return uint64(n+1)<<32 - logTable[i] - (logTable[i+1]-logTable[i])*r>>32
}

// A bid is what a shard offers for a key.
type bid struct {
	u      uint64
	weight uint32
	id     ID
}

// beats orders the bids for one key totally: by cost per weight, then the
// larger u, then the smaller ID.
func (a *bid) beats(b *bid) bool {
	if a.weight != b.weight {
		// cost(a)/a.weight against cost(b)/b.weight, without dividing.
		ah, al := bits.Mul64(cost(a.u), uint64(b.weight))
		bh, bl := bits.Mul64(cost(b.u), uint64(a.weight))
		if ah != bh || al != bl {
			return ah < bh || ah == bh && al < bl
		}
	}
	// With equal weights u alone decides, since cost never grows with it.
	if a.u != b.u {
		return a.u > b.u
	}
	return a.id < b.id
}

// Rank fills dst with the shards that are best for h, by weighted rendezvous,
// the best first, and returns how many: min(len(dst), shards that are not
// drained). Zones do not count. No table and no allocation; the cost is one
// hash per shard and place of dst, about 5 ns each.
//
// It is made for few shards or few calls: to pick a tenant's shards once, say.
// [NewSlots] makes a table of the same scores and is faster from three shards
// on.
func Rank(h uint64, shards []Shard, dst []ID) int {
	var last bid
	common := seed(h)
	for n := range dst {
		best, found := bid{}, false
		for i := range shards {
			s := &shards[i]
			if s.Drain {
				continue
			}
			u, weight := draw(common, String(string(s.ID))), s.weight()
			if u < best.u && weight == best.weight {
				continue // what beats would find: this skips nearly all
			}
			b := bid{u: u, weight: weight, id: s.ID}
			if (n == 0 || last.beats(&b)) && (!found || b.beats(&best)) {
				best, found = b, true
			}
		}
		if !found {
			return n
		}
		dst[n], last = best.id, best
	}
	return len(dst)
}
