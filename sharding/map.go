package sharding

import (
	"errors"
	"fmt"
	"slices"
)

// Map is an immutable function from keys to shards, for concurrent use:
// [*Slots], [*Ranges], and what [Buckets], [Pin] and [By] return. Schemes of
// your own enter by Buckets: the interface is sealed, because a Map also cuts
// the key space into numbered parts, which is what lets a [Router] keep the
// owner and the age of each part.
//
// A shard that is down still owns its keys: nothing rehashes on failure. A
// cache that wants that asks for several Owners.
type Map[K any] interface {
	// Owner returns the owner of the key, or ErrNoOwner, never a guess.
	Owner(key K) (ID, error)

	// Owners fills dst with distinct owners of the key, the first first, and
	// returns how many there are. Fewer than len(dst) comes with ErrNoOwner;
	// an empty dst is 0, nil.
	Owners(key K, dst []ID) (int, error)

	// Shards returns all members, drained ones too, sorted, in a fresh slice.
	Shards() []ID

	// Every key is in exactly one of the parts 0 to parts()-1, and all keys of
	// a part have the same owners. owner returns the n-th from 0, "" for none.
	parts() int
	part(key K) int
	owner(part, n int) ID

	// refine returns this map, cut where by is cut as well, or says why the
	// two cannot be compared.
	refine(by Map[K]) (Map[K], error)

	// overlap yields every pair of parts, of this map and of old, that share
	// keys. False means that it cannot tell, and has yielded nothing.
	overlap(old Map[K], yield func(part, old int)) bool

	// same reports whether both maps place every key alike.
	same(other Map[K]) bool

	// explain tells how the key finds its owner.
	explain(key K, say sayer)
}

// sayer takes a line of an explanation.
type sayer func(format string, args ...any)

// kind names a map's kind for people.
func kind[K any](m Map[K]) string {
	switch m.(type) {
	case *Slots[K]:
		return "Slots"
	case *Ranges[K]:
		return "Ranges"
	case *buckets[K]:
		return "Buckets"
	case interface{ isPin() }:
		return "Pin"
	default:
		return "By"
	}
}

// fillOwners is Owners for any map. It passes no slice through an interface,
// which would send the caller's buffer to the heap.
func fillOwners[K any](m Map[K], key K, dst []ID) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	part := m.part(key)
	for n := range dst {
		if dst[n] = m.owner(part, n); dst[n] != "" {
			continue
		}
		if n == 0 {
			_, err := m.Owner(key) // the map's own words
			return 0, err
		}
		return n, tooFew(n, len(dst))
	}
	return len(dst), nil
}

// tooFew is the error of Owners when n of want were found.
func tooFew(n, want int) error {
	return fmt.Errorf("%w: %d of %d owners", ErrNoOwner, n, want)
}

// members returns the distinct IDs, sorted, without "".
func members(ids []ID) []ID {
	out := slices.DeleteFunc(slices.Clone(ids), func(id ID) bool { return id == "" })
	slices.Sort(out)
	return slices.Compact(out)
}

// buckets is what Buckets returns.
type buckets[K any] struct {
	bucket func(K) int
	owners []ID
}

// Buckets returns the map in which owners[bucket(key)] owns the key. bucket is
// a function such as
//
//	func(user string) int { return sharding.JumpBack(sharding.String(user), 64) }
//
// and must never change while the data lives. Owners may repeat: with many
// more buckets than shards, data can move bucket by bucket, online, which a
// change of their number cannot. A number outside the owners is ErrNoOwner.
func Buckets[K any](bucket func(K) int, owners ...ID) (Map[K], error) {
	if bucket == nil {
		return nil, errors.New("sharding: bucket is nil")
	}
	if len(owners) == 0 {
		return nil, errors.New("sharding: Buckets has no owners")
	}
	var errs []error
	for i, id := range owners {
		if err := id.check(); err != nil {
			errs = append(errs, fmt.Errorf("sharding: owner of bucket %d: %w", i, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &buckets[K]{bucket, slices.Clone(owners)}, nil
}

func (b *buckets[K]) Owner(key K) (ID, error) {
	if i := b.bucket(key); uint(i) < uint(len(b.owners)) {
		return b.owners[i], nil
	}
	return "", b.outside(key)
}

// outside is the error for a key whose bucket has no owner.
func (b *buckets[K]) outside(key K) error {
	if len(b.owners) == 0 { // what Pin puts behind the pins if there is no more
		return fmt.Errorf("%w: key %s is not pinned", ErrNoOwner, format(key))
	}
	return fmt.Errorf("%w: key %s has bucket %d of %d", ErrNoOwner, format(key), b.bucket(key), len(b.owners))
}

func (b *buckets[K]) Owners(key K, dst []ID) (int, error) { return fillOwners[K](b, key, dst) }
func (b *buckets[K]) Shards() []ID                        { return members(b.owners) }

// The last part holds the keys whose bucket has no owner.
func (b *buckets[K]) parts() int { return len(b.owners) + 1 }

func (b *buckets[K]) part(key K) int {
	return int(min(uint(b.bucket(key)), uint(len(b.owners))))
}

func (b *buckets[K]) owner(part, n int) ID {
	if part == len(b.owners) || n > 0 {
		return ""
	}
	return b.owners[part]
}

func (b *buckets[K]) refine(by Map[K]) (Map[K], error) {
	o, ok := by.(*buckets[K])
	if !ok {
		return nil, fmt.Errorf("is %s, not %s", kind(by), kind(b))
	}
	if len(o.owners) != len(b.owners) {
		return nil, fmt.Errorf("has %d buckets, not %d", len(o.owners), len(b.owners))
	}
	return b, nil
}

func (b *buckets[K]) overlap(old Map[K], yield func(part, old int)) bool {
	o, ok := old.(*buckets[K])
	if !ok || len(o.owners) != len(b.owners) {
		return false
	}
	for i := range b.parts() {
		yield(i, i)
	}
	return true
}

func (b *buckets[K]) same(other Map[K]) bool {
	o, ok := other.(*buckets[K])
	return ok && slices.Equal(b.owners, o.owners)
}

func (b *buckets[K]) explain(key K, say sayer) {
	i := b.bucket(key)
	if uint(i) >= uint(len(b.owners)) {
		say("%v", b.outside(key))
		return
	}
	say("bucket %d of %d", i, len(b.owners))
	say("owner 1 is %s", b.owners[i])
}
