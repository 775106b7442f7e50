package sharding

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
)

// Range is a run of keys and the shard that owns them: From <= key < To. A
// nil bound is unbounded.
type Range[K any] struct {
	From  *K `json:"from,omitempty"`
	To    *K `json:"to,omitempty"`
	Owner ID `json:"owner"`
}

// Between returns the range of from <= key < to.
func Between[K any](from, to K, owner ID) Range[K] {
	return Range[K]{From: &from, To: &to, Owner: owner}
}

// String returns "[1, 1000000) -> shard-1". Keys that are text are quoted, and
// an unbounded side is "(-inf" or "+inf)".
func (r Range[K]) String() string { return r.keys() + " -> " + string(r.Owner) }

// keys is String without the owner.
func (r Range[K]) keys() string {
	from, to := "(-inf", "+inf)"
	if r.From != nil {
		from = "[" + format(*r.From)
	}
	if r.To != nil {
		to = format(*r.To) + ")"
	}
	return from + ", " + to
}

// format writes a key for people: text in quotes, all else as fmt does.
func format(key any) string {
	if b, ok := key.([]byte); ok || reflect.ValueOf(key).Kind() == reflect.String {
		if ok {
			return fmt.Sprintf("%q", b)
		}
		return fmt.Sprintf("%q", key)
	}
	return fmt.Sprint(key)
}

// isNaN reports whether a key is a float that no order has a place for.
func isNaN(key any) bool {
	switch v := reflect.ValueOf(key); v.Kind() {
	case reflect.Float32, reflect.Float64:
		return math.IsNaN(v.Float())
	default:
		return false
	}
}

// isFloat reports whether keys of type K may be NaN.
func isFloat[K any]() bool {
	kind := reflect.TypeFor[K]().Kind()
	return kind == reflect.Float32 || kind == reflect.Float64
}

// clone returns a copy that shares no bound with r.
func (r Range[K]) clone() Range[K] {
	return Range[K]{From: cloneBound(r.From), To: cloneBound(r.To), Owner: r.Owner}
}

func cloneBound[K any](b *K) *K {
	if b == nil {
		return nil
	}
	k := cloneKey(*b)
	return &k
}

// cloneKey copies the one common kind of key that is a reference: byte slices,
// also those of a type of their own.
func cloneKey[K any](key K) K {
	t := reflect.TypeFor[K]()
	if t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Uint8 {
		return key
	}
	return reflect.ValueOf(bytes.Clone(reflect.ValueOf(key).Bytes())).Convert(t).Interface().(K)
}

func cloneRanges[K any](ranges []Range[K]) []Range[K] {
	out := slices.Clone(ranges)
	for i := range out {
		out[i] = out[i].clone()
	}
	return out
}
