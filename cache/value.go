package cache

import (
	"context"
	"time"
)

// Loader reads one key from the source. [ErrNotFound], also wrapped, means that
// the key is absent. ctx has the values of the first caller's ctx, not its
// deadline: it ends at [Policy.LoadTimeout], at Close, or when nobody waits any
// more.
type Loader[K comparable, V any] func(ctx context.Context, key K) (V, error)

// BulkLoader reads many keys from the source. A key that is missing from the map
// is absent; beside an error, the keys that are in the map still count.
type BulkLoader[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// Entry is a value with provenance. As input of SetEntry and as result of
// LoadEntry only Value, TTL and Tags count. Do not modify Tags.
type Entry[V any] struct {
	Value   V
	TTL     time.Duration // fresh time left, negative if stale, 0 also if there is no end. As input: zero means Policy.TTL, negative do not store
	Age     time.Duration // since its load began
	Stale   bool          // past TTL, expired, or suspect after a bus gap
	Layer   Layer         // who answered
	Version uint64        // equal versions are the same fill. 0: never was in the Remote
	Tags    []string
}

// Layer says who answered.
type Layer uint8

// The layers, from the source inwards.
const (
	LayerSource Layer = iota // the loader, or nobody yet
	LayerLocal               // L1
	LayerRemote              // L2
)

// String is "source", "local" or "remote".
func (l Layer) String() string {
	switch l {
	case LayerLocal:
		return "local"
	case LayerRemote:
		return "remote"
	default:
		return "source"
	}
}
