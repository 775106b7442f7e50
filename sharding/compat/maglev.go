package compat

import (
	"errors"
	"fmt"
	"slices"

	"github.com/keelson-go/keelson/sharding"
)

// Maglev is the lookup table of "Maglev: A Fast and Reliable Software Network
// Load Balancer" (Eisenbud and others 2016): a table of hashes in which every
// shard has almost the same number of places, at the cost of some needless
// moves. It is immutable and for concurrent use.
type Maglev struct {
	table []int32
}

// NewMaglev fills a table of size places, a prime larger than the number of
// ids. In the paper's terms, the offset of a shard is the high half of
// hash(id) modulo size and its skip the low half modulo size-1, plus 1. Shards
// take turns in the order of their IDs, so the order of ids does not matter.
func NewMaglev(hash sharding.Hash[string], size int, ids ...sharding.ID) (*Maglev, error) {
	switch {
	case hash == nil:
		return nil, errors.New("compat: hash is nil")
	case len(ids) == 0:
		return nil, errors.New("compat: there are no ids")
	case size <= len(ids) || size > 1<<30 || !prime(size):
		return nil, fmt.Errorf("compat: size is %d, must be a prime above %d, the number of ids, and below 1<<30", size, len(ids))
	}
	order := make([]int, len(ids))
	for i := range ids {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if ids[a] < ids[b] {
			return -1
		}
		return 1
	})
	turns := make([]turn, len(ids))
	for n, i := range order {
		if ids[i] == "" || n > 0 && ids[order[n-1]] == ids[i] {
			return nil, fmt.Errorf("compat: id %q is empty or there twice", ids[i])
		}
		h := hash(string(ids[i]))
		turns[n] = turn{id: int32(i), place: int(h >> 32 % uint64(size)), skip: int(h&(1<<32-1)%uint64(size-1)) + 1}
	}
	return &Maglev{table: fill(size, turns)}, nil
}

// A turn is a shard with the place that it wants next.
type turn struct {
	id          int32
	place, skip int
}

// fill lets the shards take their next free place, one after the other, until
// the table is full.
func fill(size int, turns []turn) []int32 {
	table := slices.Repeat([]int32{-1}, size)
	for taken := 0; ; {
		for i := range turns {
			t := &turns[i]
			for table[t.place] >= 0 {
				t.place = (t.place + t.skip) % size
			}
			table[t.place] = t.id
			if taken++; taken == size {
				return table
			}
		}
	}
}

// prime reports whether n is a prime.
func prime(n int) bool {
	for d := 2; d <= n/d; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

// Bucket returns the shard of a hash as its index in ids, for
// [sharding.Buckets].
func (m *Maglev) Bucket(h uint64) int { return int(m.table[h%uint64(len(m.table))]) }
