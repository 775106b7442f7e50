package compat

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/keelson-go/keelson/sharding"
)

// KeyRange returns the range of keyspace ids that a Vitess shard of this name
// serves: "-80", "40-80", "80-", or "-" for all. Both bounds are hex digits in
// pairs, up to 8 bytes, in either case, and are filled with zeros on the
// right, so "-8000" has the bounds of "-80". The range's owner is the name.
// A range without keys, such as "80-8000", is an error.
//
// Keyspace ids come from a vindex; read their first 8 bytes as big endian.
func KeyRange(name string) (sharding.Range[uint64], error) {
	r := sharding.Range[uint64]{Owner: sharding.ID(name)}
	from, to, ok := strings.Cut(name, "-")
	if !ok {
		return r, fmt.Errorf("compat: shard name %.40q must be a range such as -80, 40-80 or 80-", name)
	}
	var err error
	if r.From, err = bound(from); err == nil {
		r.To, err = bound(to)
	}
	if err != nil {
		return sharding.Range[uint64]{}, fmt.Errorf("compat: shard name %.40q: %w", name, err)
	}
	if r.To != nil && (*r.To == 0 || r.From != nil && *r.From >= *r.To) {
		return sharding.Range[uint64]{}, fmt.Errorf("compat: shard name %.40q has no keys", name)
	}
	return r, nil
}

// bound reads one side of a name. Nothing is no bound.
func bound(digits string) (*uint64, error) {
	if digits == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, err
	}
	if len(b) > 8 {
		return nil, fmt.Errorf("%d bytes, at most 8 are allowed", len(b))
	}
	var n uint64
	for i := range 8 {
		n <<= 8
		if i < len(b) {
			n |= uint64(b[i])
		}
	}
	return &n, nil
}
