package eventsql

import (
	"slices"

	"github.com/keelson-go/keelson/eventsource"
)

// Locks order the appends on Postgres that could conflict, and no others. They
// are advisory locks on hashes, so that anything can be locked whether it has a
// row or not: the absence of a stream as well as its version. A collision makes
// two appends wait for each other that need not, and changes no answer.
//
// Rejected: version rows per tag (unconditional writers of a hot tag would
// queue up behind each other's commits), SERIALIZABLE (fails transactions that
// do not conflict, and works only if every writer uses it).

const (
	hashBits     = 48 // below 16 bits of namespace, see schema_postgres.sql
	maxKeys      = 64 // of one append
	maxGroupKeys = 512
)

// What is locked. The bytes are part of the keys, which old and new versions of
// a program must agree on while both run.
const (
	ofStream = 's'
	ofTag    = 'g'
	ofType   = 't'
	ofID     = 'i'
	ofSource = 'c'
)

// key is a lock: twice its hash, and 1 more if exclusive. The order of keys is
// the order in which locks are taken.
type key uint64

// global comes first. Every append holds it shared.
const global key = 0

const exclusive key = 1

// hasher makes keys. Its mask has all bits, except in tests.
type hasher uint64

// key is FNV-1a over what and text, stirred by the finalizer of MurmurHash3 and
// cut to 48 bits.
func (h hasher) key(what byte, text string) key {
	x := uint64(14695981039346656037)
	x = (x ^ uint64(what)) * 1099511628211
	for i := range len(text) {
		x = (x ^ uint64(text[i])) * 1099511628211
	}
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return key(x&uint64(h)&(1<<hashBits-1)) << 1
}

// keys returns what r has to lock, in order.
//
//   - what it writes: its streams exclusive, which numbers their events; its
//     types and tags shared, which conditions of others lock;
//   - the first id that the caller gave, exclusive: a twin has the same one;
//   - what its conditions look at, see ofItem.
func (h hasher) keys(r *request) []key {
	keys := append(make([]key, 0, 8), global)
	for _, name := range r.streams {
		keys = append(keys, h.key(ofStream, name)|exclusive)
	}
	for i := range r.rows {
		if i == 0 || r.rows[i].typ != r.rows[i-1].typ {
			keys = append(keys, h.key(ofType, r.rows[i].typ))
		}
		for _, tag := range r.rows[i].tags {
			keys = append(keys, h.key(ofTag, tag))
		}
	}
	for i := range r.rows {
		if r.rows[i].given {
			keys = append(keys, h.key(ofID, r.rows[i].id)|exclusive)
			break
		}
	}
	for _, c := range r.conds {
		keys = h.ofCondition(keys, c)
	}
	return merged(keys, maxKeys)
}

func (h hasher) ofCondition(keys []key, c eventsource.Condition) []key {
	if stream, _, ok := c.Version(); ok {
		return append(keys, h.key(ofStream, stream))
	}
	if stream, ok := c.Exists(); ok {
		return append(keys, h.key(ofStream, stream))
	}
	if source, _, ok := c.Track(); ok {
		return append(keys, h.key(ofSource, source)|exclusive)
	}
	q, _, _ := c.NoneSince()
	for _, it := range q {
		keys = h.ofItem(keys, it)
	}
	return keys
}

// ofItem locks something that every event that matches locks as well, in a mode
// that goes against it. A matching event has all of the tags, so that one tag
// is enough, and holds it shared. A stream is held exclusive by who writes it;
// but an event in no stream locks none.
func (h hasher) ofItem(keys []key, it eventsource.Item) []key {
	switch {
	case len(it.Tags) > 0:
		return append(keys, h.key(ofTag, it.Tags[0])|exclusive)
	case len(it.Streams) > 0 && !slices.Contains(it.Streams, ""):
		for _, name := range it.Streams {
			keys = append(keys, h.key(ofStream, name))
		}
		return keys
	case len(it.Types) > 0:
		for _, name := range it.Types {
			keys = append(keys, h.key(ofType, name)|exclusive)
		}
		return keys
	default:
		return append(keys, global|exclusive)
	}
}

// merged sorts keys and drops the repeated ones, the exclusive of two stays.
// Too many become the one that excludes everybody: a server has room for a
// limited number of locks.
func merged(keys []key, limit int) []key {
	slices.Sort(keys)
	n := 0
	for _, k := range keys {
		if n > 0 && keys[n-1]|exclusive == k|exclusive {
			keys[n-1] |= k
			continue
		}
		keys[n] = k
		n++
	}
	if n > limit || keys[0] == global|exclusive {
		keys[0], n = global|exclusive, 1
	}
	return keys[:n]
}
