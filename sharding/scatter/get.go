package scatter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keelson-go/keelson/sharding"
)

// rounds is how often Get asks for a key before a refusal is its answer.
const rounds = 3

// Batch is the keys that one call can serve: they have one shard and move
// alike, or not at all.
type Batch struct {
	Route sharding.Route // that of the key whose part changed last
	Keys  []int          // indexes, ascending
}

// Group sorts keys into a batch per shard and way of moving, under one
// snapshot of r. Batches come in the order of their first keys. A key without
// an owner is an error that names its index.
func Group[K any](r *sharding.Router[K], keys []K) ([]Batch, error) {
	routes := make([]sharding.Route, len(keys))
	if _, err := r.Routes(keys, routes); err != nil {
		return nil, fmt.Errorf("scatter: %w", err)
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(compareRoutes(&routes[i], &routes[j]), i-j)
	})
	n := 0
	for at := range order {
		if at == 0 || compareRoutes(&routes[order[at-1]], &routes[order[at]]) != 0 {
			n++
		}
	}
	batches := make([]Batch, 0, n)
	for from := 0; from < len(order); {
		b := Batch{Route: routes[order[from]]}
		to := from
		for ; to < len(order) && compareRoutes(&b.Route, &routes[order[to]]) == 0; to++ {
			if rt := &routes[order[to]]; rt.Since() > b.Route.Since() {
				b.Route = *rt
			}
		}
		b.Keys = order[from:to:to]
		batches, from = append(batches, b), to
	}
	slices.SortFunc(batches, func(a, b Batch) int { return a.Keys[0] - b.Keys[0] })
	return batches, nil
}

// compareRoutes orders routes by all that a call depends on; age does not
// matter, since the oldest key is content with the youngest one's route.
func compareRoutes(a, b *sharding.Route) int {
	if c := cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Mirror(), b.Mirror()), cmp.Compare(a.Reader(), b.Reader())); c != 0 {
		return c
	}
	switch {
	case a.Blocked() == b.Blocked():
		return 0
	case a.Blocked():
		return 1
	default:
		return -1
	}
}

// Get fetches the values of keys: it groups them, calls f once per batch, with
// the batch's keys, and returns the values in the order of keys. A batch
// answered with a [*sharding.MovedError], ErrStale or ErrBlocked is grouped
// again after a Refresh, in three rounds at most, so f must be safe to repeat.
//
// Keys of shards that failed have the zero V and are listed in the
// [*PartialError]; an answer of the wrong length is a failure. A key without
// an owner is an error before any call. Get needs every key, so Config.Need
// must be zero.
func Get[K, V any](ctx context.Context, r *sharding.Router[K], keys []K, cfg Config, f func(context.Context, sharding.Route, []K) ([]V, error)) ([]V, error) {
	if cfg.Need != 0 {
		return nil, fmt.Errorf("scatter: Config.Need is %d, must be 0: Get needs every key", cfg.Need)
	}
	if err := cfg.check(len(keys)); err != nil {
		return nil, err
	}
	batches, err := Group(r, keys)
	if err != nil {
		return nil, err
	}
	fetch := fetching[K, V]{keys: keys, cfg: cfg, f: f, values: make([]V, len(keys)), failed: make(map[sharding.ID]error)}
	for round := 1; len(batches) > 0; round++ {
		pending := fetch.round(ctx, batches, round == rounds)
		if len(pending) == 0 {
			break
		}
		if batches, err = fetch.regroup(ctx, r, pending); err != nil {
			return nil, err
		}
	}
	return fetch.values, fetch.err()
}

// fetching is a Get under way.
type fetching[K, V any] struct {
	keys   []K
	cfg    Config
	f      func(context.Context, sharding.Route, []K) ([]V, error)
	values []V
	ok     []sharding.ID
	failed map[sharding.ID]error
	lost   []int // indexes of keys without a value
}

// round calls f for each batch and returns the keys to ask for again.
func (t *fetching[K, V]) round(ctx context.Context, batches []Batch, last bool) (pending []int) {
	errs := make([]error, len(batches))
	g := newGather(ctx, len(batches), t.cfg)
	defer g.cancel(nil)
	g.run(func(ctx context.Context, i int) error {
		errs[i] = t.one(ctx, batches[i])
		if !last && refused(errs[i]) {
			return nil // another round may help: no reason to fail fast
		}
		return errs[i]
	}, func(i int, err error) { errs[i] = err })
	for i, b := range batches {
		switch {
		case errs[i] == nil:
			t.ok = append(t.ok, b.Route.Shard)
		case !last && refused(errs[i]) && ctx.Err() == nil:
			pending = append(pending, b.Keys...)
		default:
			t.failed[b.Route.Shard] = errs[i]
			t.lost = append(t.lost, b.Keys...)
		}
	}
	return pending
}

// one calls f for a batch and puts the values in their places.
func (t *fetching[K, V]) one(ctx context.Context, b Batch) error {
	keys := make([]K, len(b.Keys))
	for n, i := range b.Keys {
		keys[n] = t.keys[i]
	}
	values, err := t.f(ctx, b.Route, keys)
	if err != nil {
		return err
	}
	if len(values) != len(keys) {
		return fmt.Errorf("scatter: shard %s returned %d values for %d keys", b.Route.Shard, len(values), len(keys))
	}
	for n, i := range b.Keys {
		t.values[i] = values[n]
	}
	return nil
}

// regroup routes the pending keys anew. A Refresh that fails changes nothing:
// the refusal of the next round says more.
func (t *fetching[K, V]) regroup(ctx context.Context, r *sharding.Router[K], pending []int) ([]Batch, error) {
	_ = r.Refresh(ctx)
	slices.Sort(pending)
	keys := make([]K, len(pending))
	for n, i := range pending {
		keys[n] = t.keys[i]
	}
	batches, err := Group(r, keys)
	for _, b := range batches {
		for n, at := range b.Keys {
			b.Keys[n] = pending[at]
		}
	}
	return batches, err
}

// err is the error of the whole Get.
func (t *fetching[K, V]) err() error {
	if len(t.failed) == 0 {
		return nil
	}
	slices.Sort(t.lost)
	slices.Sort(t.ok)
	ok := slices.DeleteFunc(slices.Compact(t.ok), func(id sharding.ID) bool { return t.failed[id] != nil })
	return &PartialError{Failed: t.failed, OK: ok, Keys: t.lost}
}

// refused reports whether another route may help.
func refused(err error) bool {
	return errors.Is(err, sharding.ErrStale) || errors.Is(err, sharding.ErrBlocked)
}
