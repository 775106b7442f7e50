package sharding

import "fmt"

// This file makes a Map of Ranges: its parts are the runs, numbered as the
// finder likes, and one for NaN.

func (r *Ranges[K]) parts() int     { return len(r.byPart) }
func (r *Ranges[K]) part(key K) int { return r.find.part(key) }

func (r *Ranges[K]) owner(part, n int) ID {
	if n > 0 {
		return ""
	}
	return r.byPart[part]
}

func (r *Ranges[K]) refine(by Map[K]) (Map[K], error) {
	o, ok := by.(*Ranges[K])
	if !ok {
		return nil, fmt.Errorf("is %s, not %s", kind(by), kind(r))
	}
	return r.cutBy(o).indexed(), nil
}

func (r *Ranges[K]) overlap(old Map[K], yield func(part, old int)) bool {
	o, ok := old.(*Ranges[K])
	if !ok {
		return false
	}
	yield(len(r.owners), len(o.owners)) // NaN
	i, j := 0, 0
	for {
		yield(r.find.number(i), o.find.number(j))
		c := compareTo(r.compare, r.at(i).To, o.at(j).To)
		if c == 0 && i == len(r.bounds) {
			return true
		}
		if c <= 0 {
			i++
		}
		if c >= 0 {
			j++
		}
	}
}

func (r *Ranges[K]) same(other Map[K]) bool {
	o, ok := other.(*Ranges[K])
	if !ok {
		return false
	}
	equal := true
	r.overlap(o, func(part, old int) { equal = equal && r.owner(part, 0) == o.owner(old, 0) })
	return equal
}

func (r *Ranges[K]) explain(key K, say sayer) {
	if isNaN(key) {
		say("the key is NaN, which no range holds")
		return
	}
	i := r.run(key)
	if r.owners[i] == "" {
		say("no range holds the key: %s has no owner", r.at(i).keys())
		return
	}
	say("range %v of %d", r.at(i).keys(), r.count())
	say("owner 1 is %s", r.owners[i])
}

// count returns how many ranges there are.
func (r *Ranges[K]) count() (n int) {
	for _, owner := range r.owners {
		if owner != "" {
			n++
		}
	}
	return n
}
