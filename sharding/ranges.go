package sharding

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// Ranges places keys by order: each shard owns runs of neighbouring keys, so
// a query for a run visits few shards. It is a [Map], immutable, for
// concurrent use; methods that change something return a new one.
//
// Its outer ends may be bounded. Keys beyond them, and NaN, have ErrNoOwner.
type Ranges[K any] struct {
	compare func(a, b K) int
	index   func(bounds []K) finder[K]

	// The bounds cut the keys into len(bounds)+1 runs, of which the i-th has
	// exactly i bounds at or below its keys. owners[i] owns run i; it is empty
	// for the outer runs of a map with bounded ends, and nowhere else.
	bounds []K
	owners []ID
	find   finder[K]
	byPart []ID // the owner of each part as find numbers them, then none for NaN
}

// NewRanges returns the map of the given ranges, in any order. They must not
// be empty, inverted or bounded by NaN, and join without a gap or an overlap;
// the error reports everything that is wrong.
//
// A lookup searches an array laid out for the processor's cache, without
// branches that it would mispredict: about 10 ns for 4096 ranges of integers.
func NewRanges[K cmp.Ordered](ranges ...Range[K]) (*Ranges[K], error) {
	return newRanges(cmp.Compare[K], newFinder[K], ranges)
}

// NewRangesFunc is NewRanges for keys of any type: byte slices, composite
// keys, orders of your own. compare returns a negative number if a < b, zero
// if they are equal, a positive one if a > b. It must be a total order and the
// same wherever the map is used. Bounds that are byte slices are copied; keys
// that hold other references must not be changed. A lookup is a binary search.
func NewRangesFunc[K any](compare func(a, b K) int, ranges ...Range[K]) (*Ranges[K], error) {
	if compare == nil {
		return nil, fmt.Errorf("sharding: compare is nil")
	}
	floats := isFloat[K]()
	index := func(bounds []K) finder[K] { return bisection[K]{bounds, compare, floats} }
	return newRanges(compare, index, ranges)
}

func newRanges[K any](compare func(a, b K) int, index func([]K) finder[K], ranges []Range[K]) (*Ranges[K], error) {
	sorted, err := join(compare, ranges)
	if err != nil {
		return nil, err
	}
	r := &Ranges[K]{compare: compare, index: index}
	if first := sorted[0].From; first != nil {
		r.bounds, r.owners = append(r.bounds, cloneKey(*first)), append(r.owners, "")
	}
	for _, s := range sorted {
		r.owners = append(r.owners, s.Owner)
		if s.To != nil {
			r.bounds = append(r.bounds, cloneKey(*s.To))
		}
	}
	if sorted[len(sorted)-1].To != nil {
		r.owners = append(r.owners, "")
	}
	return r.indexed(), nil
}

// indexed completes r from its bounds and owners.
func (r *Ranges[K]) indexed() *Ranges[K] {
	r.find = r.index(r.bounds)
	r.byPart = make([]ID, len(r.owners)+1)
	for i, owner := range r.owners {
		r.byPart[r.find.number(i)] = owner
	}
	return r
}

// Owner returns the owner of the key.
func (r *Ranges[K]) Owner(key K) (ID, error) {
	if owner := r.byPart[r.find.part(key)]; owner != "" {
		return owner, nil
	}
	return "", r.outside(key)
}

// Owners returns the owner of the key: a range has only one.
func (r *Ranges[K]) Owners(key K, dst []ID) (int, error) { return fillOwners[K](r, key, dst) }

// outside is the error for a key that is not covered.
func (r *Ranges[K]) outside(key K) error {
	all := r.at(0)
	if first := r.owners[0]; first == "" {
		all.From = &r.bounds[0]
	}
	all.To = nil
	if last := len(r.owners) - 1; r.owners[last] == "" {
		all.To = &r.bounds[last-1]
	}
	return fmt.Errorf("%w: key %s is not in %s", ErrNoOwner, format(key), all.keys())
}

// Shards returns the owners, sorted.
func (r *Ranges[K]) Shards() []ID { return members(r.owners) }

// All yields the ranges in order.
func (r *Ranges[K]) All() iter.Seq[Range[K]] {
	return func(yield func(Range[K]) bool) {
		for i, owner := range r.owners {
			if owner != "" && !yield(r.at(i).clone()) {
				return
			}
		}
	}
}

// at returns run i as a range whose bounds are those of r.
func (r *Ranges[K]) at(i int) Range[K] {
	run := Range[K]{Owner: r.owners[i]}
	if i > 0 {
		run.From = &r.bounds[i-1]
	}
	if i < len(r.bounds) {
		run.To = &r.bounds[i]
	}
	return run
}

// Overlapping yields the ranges, in order and uncut, that a query for
// from <= key < to must visit. Nil is unbounded; from >= to yields nothing.
func (r *Ranges[K]) Overlapping(from, to *K) iter.Seq[Range[K]] {
	return func(yield func(Range[K]) bool) {
		if from != nil && isNaN(*from) || to != nil && isNaN(*to) || from != nil && to != nil && r.compare(*from, *to) >= 0 {
			return
		}
		first := 0
		if from != nil {
			first = r.run(*from)
		}
		for i := first; i < len(r.owners); i++ {
			if i > 0 && to != nil && r.compare(r.bounds[i-1], *to) >= 0 {
				return
			}
			if r.owners[i] != "" && !yield(r.at(i).clone()) {
				return
			}
		}
	}
}

// run returns the run of a key, which is the number of bounds at or below it.
func (r *Ranges[K]) run(key K) int {
	i, found := slices.BinarySearchFunc(r.bounds, key, r.compare)
	if found {
		i++
	}
	return i
}

// Split cuts the range that holds at into two, of which right owns the upper
// one; an empty right keeps the owner. at must lie strictly inside a range.
func (r *Ranges[K]) Split(at K, right ID) (*Ranges[K], error) {
	i, onBound := slices.BinarySearchFunc(r.bounds, at, r.compare)
	if isNaN(at) {
		return nil, fmt.Errorf("sharding: cannot split at NaN")
	}
	if onBound {
		return nil, fmt.Errorf("sharding: cannot split at %s: it is a bound already", format(at))
	}
	if r.owners[i] == "" {
		return nil, r.outside(at)
	}
	if right == "" {
		right = r.owners[i]
	} else if err := right.check(); err != nil {
		return nil, fmt.Errorf("sharding: %w", err)
	}
	next := r.edit()
	next.bounds = slices.Insert(next.bounds, i, cloneKey(at))
	next.owners = slices.Insert(next.owners, i+1, right)
	return next.indexed(), nil
}

// Merge removes the bound at. The ranges on both sides must have one owner:
// move one of them first.
func (r *Ranges[K]) Merge(at K) (*Ranges[K], error) {
	i, found := slices.BinarySearchFunc(r.bounds, at, r.compare)
	if !found || r.owners[i] == "" || r.owners[i+1] == "" {
		return nil, fmt.Errorf("sharding: cannot merge at %s: no two ranges meet there", format(at))
	}
	if r.owners[i] != r.owners[i+1] {
		return nil, fmt.Errorf("sharding: cannot merge at %s: %v and %v have different owners", format(at), r.at(i), r.at(i+1))
	}
	next := r.edit()
	next.bounds = slices.Delete(next.bounds, i, i+1)
	next.owners = slices.Delete(next.owners, i, i+1)
	return next.indexed(), nil
}

// Move gives keys to keys.Owner. It cuts ranges at the ends of keys where
// needed and removes no bound inside; all keys must be covered.
func (r *Ranges[K]) Move(keys Range[K]) (*Ranges[K], error) {
	if err := checkRange(r.compare, keys); err != nil {
		return nil, fmt.Errorf("sharding: cannot move %v: %w", keys, err)
	}
	next := r.edit()
	for _, at := range []*K{keys.From, keys.To} {
		if at != nil {
			next.cut(*at)
		}
	}
	from, to := 0, len(next.owners)
	if keys.From != nil {
		from = next.run(*keys.From)
	}
	if keys.To != nil {
		to = next.run(*keys.To)
	}
	for i := from; i < to; i++ {
		if next.owners[i] == "" {
			return nil, fmt.Errorf("sharding: cannot move %v: %w: %s is not covered", keys, ErrNoOwner, next.at(i).keys())
		}
		next.owners[i] = keys.Owner
	}
	return next.indexed(), nil
}

// cut adds a bound to a map under edit, unless it is there.
func (r *Ranges[K]) cut(at K) {
	if i, found := slices.BinarySearchFunc(r.bounds, at, r.compare); !found {
		r.bounds = slices.Insert(r.bounds, i, cloneKey(at))
		r.owners = slices.Insert(r.owners, i, r.owners[i])
	}
}

// edit returns a copy to be changed and indexed.
func (r *Ranges[K]) edit() *Ranges[K] {
	return &Ranges[K]{compare: r.compare, index: r.index, bounds: slices.Clone(r.bounds), owners: slices.Clone(r.owners)}
}

// Diff returns what moves if next takes over from r, in the fewest moves and
// in order. Where next covers more or less, the owner or To is empty.
func (r *Ranges[K]) Diff(next *Ranges[K]) (Plan[K], error) {
	var plan Plan[K]
	cut := r.cutBy(next)
	joins := false // the run before moves alike
	for i, owner := range cut.owners {
		keys := cut.at(i)
		to := next.owners[next.under(keys)]
		switch {
		case owner == to:
			joins = false
		case joins && plan[len(plan)-1].Keys.Owner == owner && plan[len(plan)-1].To == to:
			plan[len(plan)-1].Keys.To = cloneBound(keys.To)
		default:
			plan = append(plan, Move[K]{Keys: keys.clone(), To: to})
			joins = true
		}
	}
	return plan, nil
}

// under returns the run of r that holds keys, which r does not cut.
func (r *Ranges[K]) under(keys Range[K]) int {
	if keys.From == nil {
		return 0
	}
	return r.run(*keys.From)
}

// cutBy returns r, not indexed, with the bounds of by as well.
func (r *Ranges[K]) cutBy(by *Ranges[K]) *Ranges[K] {
	out := &Ranges[K]{compare: r.compare, index: r.index}
	i, j := 0, 0
	for i < len(r.bounds) || j < len(by.bounds) {
		out.owners = append(out.owners, r.owners[i])
		c := 1 // by's bound is next
		switch {
		case j == len(by.bounds):
			c = -1
		case i < len(r.bounds):
			c = r.compare(r.bounds[i], by.bounds[j])
		}
		if c <= 0 {
			out.bounds = append(out.bounds, r.bounds[i])
			i++
		} else {
			out.bounds = append(out.bounds, by.bounds[j])
		}
		if c >= 0 {
			j++
		}
	}
	out.owners = append(out.owners, r.owners[i])
	return out
}
