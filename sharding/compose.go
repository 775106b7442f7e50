package sharding

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// pin is what Pin returns. Its parts are the pins and then those of next.
type pin[K comparable] struct {
	at     map[K]int // part of a pinned key
	owners []ID      // by part
	next   Map[K]
}

// Pin returns the map that sends some keys to a shard of their own, such as
// large tenants or regions, and all others by next. Pins win over next. With a
// nil next, other keys have no owner: that is placement by a list.
func Pin[K comparable](pins map[K]ID, next Map[K]) (Map[K], error) {
	if next == nil {
		next = &buckets[K]{bucket: func(K) int { return 0 }} // of no owners
	}
	p := &pin[K]{at: make(map[K]int, len(pins)), next: next}
	var errs []error
	for key, id := range pins {
		if err := id.check(); err != nil {
			errs = append(errs, fmt.Errorf("sharding: pin of %s: %w", format(key), err))
		}
		p.at[key] = len(p.owners)
		p.owners = append(p.owners, id)
		if _, found := p.at[key]; !found {
			errs = append(errs, errors.New("sharding: a key with NaN cannot be pinned, it equals no key"))
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	return p, nil
}

func (p *pin[K]) isPin() {}

func (p *pin[K]) Owner(key K) (ID, error) {
	if i, ok := p.at[key]; ok {
		return p.owners[i], nil
	}
	return p.next.Owner(key)
}

// Owners: a pin is one shard; further owners come from next, and only for keys
// that are not pinned.
func (p *pin[K]) Owners(key K, dst []ID) (int, error) { return fillOwners[K](p, key, dst) }

func (p *pin[K]) Shards() []ID {
	return members(append(p.next.Shards(), p.owners...))
}

func (p *pin[K]) parts() int { return len(p.owners) + p.next.parts() }

func (p *pin[K]) part(key K) int {
	if i, ok := p.at[key]; ok {
		return i
	}
	return len(p.owners) + p.next.part(key)
}

func (p *pin[K]) owner(part, n int) ID {
	switch {
	case part >= len(p.owners):
		return p.next.owner(part-len(p.owners), n)
	case n > 0:
		return ""
	default:
		return p.owners[part]
	}
}

func (p *pin[K]) refine(by Map[K]) (Map[K], error) {
	o, ok := by.(*pin[K])
	if !ok {
		return nil, fmt.Errorf("is %s, not %s", kind(by), kind(p))
	}
	if !maps.EqualFunc(p.at, o.at, func(int, int) bool { return true }) {
		return nil, errors.New("has other pins")
	}
	next, err := p.next.refine(o.next)
	if err != nil {
		return nil, err
	}
	return &pin[K]{at: p.at, owners: p.owners, next: next}, nil
}

// overlap: a key that is pinned in one map only is met in a part of the
// other's rest.
func (p *pin[K]) overlap(old Map[K], yield func(part, old int)) bool {
	o, ok := old.(*pin[K])
	if !ok {
		return false
	}
	n, m := len(p.owners), len(o.owners)
	if !p.next.overlap(o.next, func(i, j int) { yield(n+i, m+j) }) {
		return false
	}
	for key, i := range p.at {
		yield(i, o.part(key))
	}
	for key, j := range o.at {
		if _, pinned := p.at[key]; !pinned {
			yield(p.part(key), j)
		}
	}
	return true
}

func (p *pin[K]) same(other Map[K]) bool {
	o, ok := other.(*pin[K])
	if !ok || len(p.at) != len(o.at) || !p.next.same(o.next) {
		return false
	}
	for key, i := range p.at {
		if j, pinned := o.at[key]; !pinned || p.owners[i] != o.owners[j] {
			return false
		}
	}
	return true
}

func (p *pin[K]) explain(key K, say sayer) {
	if i, ok := p.at[key]; ok {
		say("the key is pinned")
		say("owner 1 is %s", p.owners[i])
		return
	}
	say("the key is not pinned")
	p.next.explain(key, say)
}

// by is what By returns.
type by[K, P any] struct {
	project func(K) P
	next    Map[P]
}

// By returns the map that looks at a part of the key only: the tenant of a
// composite key, or the hash of a key whose hashes are placed by range. project
// must never change while the data lives. By panics if project or next is nil.
func By[K, P any](project func(K) P, next Map[P]) Map[K] {
	if project == nil || next == nil {
		panic("sharding: By needs a projection and a map")
	}
	return &by[K, P]{project, next}
}

func (b *by[K, P]) Owner(key K) (ID, error) { return b.next.Owner(b.project(key)) }

func (b *by[K, P]) Owners(key K, dst []ID) (int, error) {
	return fillOwners(b.next, b.project(key), dst)
}

func (b *by[K, P]) Shards() []ID         { return b.next.Shards() }
func (b *by[K, P]) parts() int           { return b.next.parts() }
func (b *by[K, P]) part(key K) int       { return b.next.part(b.project(key)) }
func (b *by[K, P]) owner(part, n int) ID { return b.next.owner(part, n) }

func (b *by[K, P]) refine(other Map[K]) (Map[K], error) {
	o, ok := other.(*by[K, P])
	if !ok {
		return nil, fmt.Errorf("is %s, not %s of the same type", kind(other), kind(b))
	}
	next, err := b.next.refine(o.next)
	if err != nil {
		return nil, err
	}
	return &by[K, P]{b.project, next}, nil
}

func (b *by[K, P]) overlap(old Map[K], yield func(part, old int)) bool {
	o, ok := old.(*by[K, P])
	return ok && b.next.overlap(o.next, yield)
}

func (b *by[K, P]) same(other Map[K]) bool {
	o, ok := other.(*by[K, P])
	return ok && b.next.same(o.next)
}

func (b *by[K, P]) explain(key K, say sayer) {
	p := b.project(key)
	say("the key is taken by %s", format(p))
	b.next.explain(p, say)
}
