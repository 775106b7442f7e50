package cache

import (
	"hash/maphash"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
)

// names translates between keys and their names on Remote and Bus.
type names[K comparable] struct {
	of func(K) string

	// parse is the reverse, where the type of K has one; else the index knows it.
	parse func(string) (K, bool)
	index *nameIndex[K]
}

func namable(t reflect.Type) bool {
	k := t.Kind()
	return k == reflect.String || k >= reflect.Int && k <= reflect.Uintptr
}

func newNames[K comparable](custom func(K) string) *names[K] {
	if custom != nil {
		return &names[K]{of: custom, index: &nameIndex[K]{seed: maphash.MakeSeed(), at: make(map[uint64][]K)}}
	}
	t := reflect.TypeFor[K]()
	switch k := t.Kind(); {
	case k == reflect.String:
		if n, ok := any(plainNames).(*names[K]); ok {
			return n
		}
		return &names[K]{
			of: func(key K) string { return reflect.ValueOf(key).String() },
			parse: func(name string) (key K, ok bool) {
				reflect.ValueOf(&key).Elem().SetString(name)
				return key, true
			},
		}
	case k <= reflect.Int64:
		return &names[K]{
			of: func(key K) string { return strconv.FormatInt(reflect.ValueOf(key).Int(), 10) },
			parse: func(name string) (key K, ok bool) {
				n, err := strconv.ParseInt(name, 10, t.Bits())
				reflect.ValueOf(&key).Elem().SetInt(n)
				return key, err == nil
			},
		}
	default:
		return &names[K]{
			of: func(key K) string { return strconv.FormatUint(reflect.ValueOf(key).Uint(), 10) },
			parse: func(name string) (key K, ok bool) {
				n, err := strconv.ParseUint(name, 10, t.Bits())
				reflect.ValueOf(&key).Elem().SetUint(n)
				return key, err == nil
			},
		}
	}
}

// plainNames are those of the most frequent type of key, without reflection.
var plainNames = &names[string]{
	of:    func(key string) string { return key },
	parse: func(name string) (string, bool) { return name, true },
}

// keys calls f for each key that may have the name: too many perhaps, never too
// few of those in L1.
func (n *names[K]) keys(name string, f func(K)) {
	if n.index != nil {
		for _, key := range n.index.find(name) {
			f(key)
		}
		return
	}
	if key, ok := n.parse(name); ok {
		f(key)
	}
}

// A nameIndex finds keys by the hash of their names. It is only needed where names
// are made by Config.Key. Keys come in when their flights begin, before anything
// of them can be in L1, and go when a new index replaces the old one.
type nameIndex[K comparable] struct {
	seed maphash.Seed

	mu   sync.Mutex
	at   map[uint64][]K
	next map[uint64][]K // while it is being built: new keys go into both
	keys int
}

// minIndex is how many keys an index has before it is worth a new one.
const minIndex = 1024

// add notes a key, and tells whether the index holds so many more than live that
// the caller should rebuild it.
func (x *nameIndex[K]) add(key K, name string, live int64) (rebuild bool) {
	hash := maphash.String(x.seed, name)
	x.mu.Lock()
	defer x.mu.Unlock()
	if insert(x.at, hash, key) {
		x.keys++
	}
	if x.next != nil {
		insert(x.next, hash, key)
		return false
	}
	if int64(x.keys) < 2*live+minIndex {
		return false
	}
	x.next = make(map[uint64][]K)
	return true
}

func insert[K comparable](at map[uint64][]K, hash uint64, key K) bool {
	for _, k := range at[hash] {
		if k == key {
			return false
		}
	}
	at[hash] = append(at[hash], key)
	return true
}

// keep carries a key over into the next index.
func (x *nameIndex[K]) keep(key K, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	insert(x.next, maphash.String(x.seed, name), key)
}

// swap puts the next index in place.
func (x *nameIndex[K]) swap() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at, x.next = x.next, nil
	x.keys = 0
	for _, keys := range x.at {
		x.keys += len(keys)
	}
}

func (x *nameIndex[K]) find(name string) []K {
	hash := maphash.String(x.seed, name)
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]K(nil), x.at[hash]...)
}

// register makes a key known to the index before anything of it can be stored.
// The shard's mutex is held, so that a rebuild sees the flight or has let the key
// into both indexes. The caller rebuilds after Unlock if it is told to.
func (c *Cache[K, V]) register(key K, name string) (rebuild bool) {
	return c.names != nil && c.names.index != nil && c.names.index.add(key, name, c.table.len())
}

// reindex leaves out the keys that are gone.
func (c *Cache[K, V]) reindex() {
	// Flights first: one that ends meanwhile has become an entry, which comes next.
	for i := range c.table.shards {
		s := &c.table.shards[i]
		s.mu.Lock()
		keys := slices.AppendSeq(slices.Collect(maps.Keys(s.flights)), maps.Keys(s.sets))
		s.mu.Unlock()
		for _, key := range keys {
			c.names.index.keep(key, c.names.of(key))
		}
	}
	c.table.each(func(e *entry[K, V]) bool {
		c.names.index.keep(e.key, c.names.of(e.key))
		return true
	})
	c.names.index.swap()
}

// name is the key's on Remote and Bus. Empty if there are none.
func (c *Cache[K, V]) name(key K) string {
	if c.names == nil {
		return ""
	}
	return c.names.of(key)
}
