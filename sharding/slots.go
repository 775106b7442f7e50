package sharding

import (
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

const (
	defaultSlots = 1 << 14
	maxSlots     = 1 << 20
	maxOwners    = 8
	maxShards    = 1<<16 - 1 // a table holds the numbers below it
)

// SlotConfig is all that a placement on slots depends on: equal configs, with
// Shards in any order, place every key alike, whatever came before them. Its
// JSON is what a topology store keeps.
type SlotConfig struct {
	// Shards are the members. At least one must not be drained.
	Shards []Shard `json:"shards,omitempty"`

	// Slots is the number of slots, a power of two up to 1<<20, which is fixed
	// for the life of the data. Zero means 16384.
	Slots int `json:"slots,omitempty"`

	// Owners is how many owners each slot has, up to 8, in different zones as
	// far as there are any. Zero means 1.
	Owners int `json:"owners,omitempty"`

	// CapPercent is the most slots of which a shard is the first owner, in
	// percent of its fair share, at least 100. Caps level the load, and cost
	// some needless moves when members change. Zero means no cap.
	CapPercent int `json:"cap_percent,omitempty"`

	// Assigned sets the first owner of slot numbers by hand: slots that are
	// not moved yet, or one with a hot key. It overrides the cap. Nil means
	// none.
	Assigned []Range[int] `json:"assigned,omitempty"`
}

// Slots places keys by hash: a key has one of a fixed number of slots, and a
// table says which shards own a slot. It is a [Map], immutable, for concurrent
// use.
type Slots[K any] struct {
	hash   Hash[K]
	shift  uint8
	cfg    SlotConfig
	ids    []ID     // all members, sorted
	owners int      // per slot
	table  []uint16 // slot*owners: index into ids, or nobody
}

// nobody stands in the table where there are too few shards.
const nobody = maxShards

// NewSlots computes the table for cfg: a member that joins, leaves or changes
// its weight takes or gives exactly the slots that it must (with a cap, a few
// more). That takes about 5 ms for 64 shards and one owner.
//
// The error names the field that is wrong. Fewer shards than Owners is not an
// error: the lookup returns those that there are.
func NewSlots[K any](hash Hash[K], cfg SlotConfig) (*Slots[K], error) {
	if hash == nil {
		return nil, fmt.Errorf("sharding: hash is nil")
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.clone()
	s := &Slots[K]{hash: hash, cfg: cfg, owners: cfg.owners(), shift: uint8(64 - bits.Len(uint(cfg.slots()-1)))}
	for _, m := range cfg.Shards {
		s.ids = append(s.ids, m.ID)
	}
	slices.Sort(s.ids)
	s.table = newFill(&cfg, s.ids).table()
	return s, nil
}

// slot is Slot for the hash of a key. The product spreads weak hashes and
// sequential numbers over the high bits, and leaves the bits of h to tables
// inside the shard. With a single slot the shift is 64, which gives 0.
func slot(h uint64, shift uint8) int { return int(h * golden >> shift) }

// Slot returns the slot of a key, from 0.
func (s *Slots[K]) Slot(key K) int { return slot(s.hash(key), s.shift) }

// Owner returns the first owner of the key. The error is always nil: it is
// there for [Map].
func (s *Slots[K]) Owner(key K) (ID, error) { return s.first(s.Slot(key)), nil }

// Owners fills dst with the owners of the key, the first first.
func (s *Slots[K]) Owners(key K, dst []ID) (int, error) {
	row := s.row(s.Slot(key))
	for n := range dst {
		if n == len(row) || row[n] == nobody {
			return n, tooFew(n, len(dst))
		}
		dst[n] = s.ids[row[n]]
	}
	return len(dst), nil
}

// Shards returns all members, drained ones too, sorted.
func (s *Slots[K]) Shards() []ID { return slices.Clone(s.ids) }

// All yields every slot with its first owner.
func (s *Slots[K]) All() iter.Seq2[int, ID] {
	return func(yield func(int, ID) bool) {
		for i := range s.parts() {
			if !yield(i, s.first(i)) {
				return
			}
		}
	}
}

// Share returns the share of all slots, 0 to 1, of which id is the first
// owner.
func (s *Slots[K]) Share(id ID) float64 {
	n := 0
	for _, owner := range s.All() {
		if owner == id {
			n++
		}
	}
	return float64(n) / float64(s.parts())
}

// Config returns a copy of the config as it was given. Change it and call
// NewSlots for the next placement.
func (s *Slots[K]) Config() SlotConfig { return s.cfg.clone() }

// Diff returns what moves if next takes over from s: one Move per slot in
// ascending order, so len(plan) slots move. It is an error if the numbers of
// slots differ.
func (s *Slots[K]) Diff(next *Slots[K]) (Plan[int], error) {
	if s.parts() != next.parts() {
		return nil, fmt.Errorf("sharding: %d slots cannot become %d: the number is fixed", s.parts(), next.parts())
	}
	var plan Plan[int]
	for i := range s.parts() {
		if from, to := s.first(i), next.first(i); from != to {
			plan = append(plan, Move[int]{Keys: Between(i, i+1, from), To: to})
		}
	}
	return plan, nil
}

func (s *Slots[K]) row(slot int) []uint16 { return s.table[slot*s.owners : (slot+1)*s.owners] }

func (s *Slots[K]) first(slot int) ID { return s.ids[s.table[slot*s.owners]] }

func (s *Slots[K]) parts() int     { return len(s.table) / s.owners }
func (s *Slots[K]) part(key K) int { return s.Slot(key) }

func (s *Slots[K]) owner(part, n int) ID {
	if row := s.row(part); n < len(row) && row[n] != nobody {
		return s.ids[row[n]]
	}
	return ""
}

func (s *Slots[K]) refine(by Map[K]) (Map[K], error) {
	o, ok := by.(*Slots[K])
	if !ok {
		return nil, fmt.Errorf("is %s, not %s", kind(by), kind(s))
	}
	if s.parts() != o.parts() {
		return nil, fmt.Errorf("has %d slots, not %d", o.parts(), s.parts())
	}
	return s, nil
}

func (s *Slots[K]) overlap(old Map[K], yield func(part, old int)) bool {
	o, ok := old.(*Slots[K])
	if !ok || s.parts() != o.parts() {
		return false
	}
	for i := range s.parts() {
		yield(i, i)
	}
	return true
}

func (s *Slots[K]) same(other Map[K]) bool {
	o, ok := other.(*Slots[K])
	if !ok || s.owners != o.owners || !slices.Equal(s.ids, o.ids) {
		return false
	}
	return slices.Equal(s.table, o.table)
}

func (s *Slots[K]) explain(key K, say sayer) {
	h := s.hash(key)
	i := slot(h, s.shift)
	say("hash %016x, slot %d of %d", h, i, s.parts())
	if len(s.cfg.Assigned) > 0 && slices.ContainsFunc(s.cfg.Assigned, func(r Range[int]) bool {
		from, to := slotsOf(r, s.parts())
		return from <= i && i < to
	}) {
		say("the slot is assigned by hand")
	}
	for n, m := range s.row(i) {
		if m != nobody {
			say("owner %d is %s", n+1, s.ids[m])
		}
	}
}
