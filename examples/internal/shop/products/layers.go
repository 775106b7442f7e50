package products

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// layers are the caches before the store, and the store's own limit. Each can be
// switched off, to see what it is good for.
type layers struct {
	on      func(name string, absent bool) bool
	shared  *cache.Cache[string, Product] // L1, and L2 behind it
	local   *cache.Cache[string, Product] // L1 alone, while L2 is off
	remote  *cache.Cache[string, Product] // L2 alone, while L1 is off
	queries *cache.Cache[string, Product]
	places  *limit.Concurrency
	catalog *wire.Model[Event, catalog]
}

// The store is made to be as slow as a small database, or scaling would show nothing.
const (
	readers = 8
	work    = 10 * time.Millisecond
	queue   = 1000
)

func newLayers(n *wire.Node, c *wire.Model[Event, catalog]) (l *layers, err error) {
	settings := n.Settings()
	l = &layers{
		catalog: c, on: n.On,
		places: limit.NewConcurrency(limit.ConcurrencyConfig{Name: "store", Max: readers, Queue: queue}),
	}
	l.queries, err = cache.New(cache.Config[string, Product]{
		MaxEntries: 1000, CountHits: true,
		Policy: cache.Policy{TTL: settings.QueryTTL, LoadTimeout: settings.PerTry},
		Load:   l.read,
	})
	if err != nil {
		return nil, err
	}
	config := cache.Config[string, Product]{
		MaxEntries: 1000, CountHits: true,
		Policy: cache.Policy{
			TTL: settings.SharedTTL, LocalTTL: settings.LocalTTL, NotFoundTTL: settings.QueryTTL,
			// A price of ten minutes ago, labelled as such, is better than none.
			StaleIfError: 10 * time.Minute, LoadTimeout: settings.PerTry,
		},
		Load:          l.query,
		RemoteTimeout: settings.PerTry / 4,
		OnEvent:       func(e cache.Event) { n.Tell("cache", told{string(e.Kind), e.Key, e.Count}) },
	}
	remote, bus := n.Cache()
	local := config
	local.Bus = bus
	local.Policy.TTL = settings.LocalTTL
	config.Remote, config.Bus = remote, bus
	only := config
	only.Policy.LocalTTL = time.Nanosecond
	for c, to := range map[*cache.Config[string, Product]]**cache.Cache[string, Product]{&config: &l.shared, &local: &l.local, &only: &l.remote} {
		if *to, err = cache.New(*c); err != nil {
			return nil, err
		}
		n.Own(*to)
	}
	n.Own(l.queries)
	n.Section("cache", func() any { return wire.Entry{Name: n.Name(), Value: l.stats()} })
	return l, nil
}

// front is the cache that requests ask; nil while both L1 and L2 are off.
func (l *layers) front() *cache.Cache[string, Product] {
	switch l1, l2 := l.on("l1", true), l.on("l2", true); {
	case l1 && l2:
		return l.shared
	case l1:
		return l.local
	case l2:
		return l.remote
	}
	return nil
}

// query is what is behind L1 and L2.
func (l *layers) query(ctx context.Context, sku string) (Product, error) {
	if !l.on("query-cache", true) {
		return l.read(ctx, sku)
	}
	return l.queries.Get(ctx, sku)
}

// told is a cache.Event in words.
type told struct {
	Kind  string `json:"kind"`
	Key   string `json:"key,omitempty"`
	Count int    `json:"count,omitempty"`
}

func (l *layers) stats() map[string]any {
	return map[string]any{
		"shared": l.shared.Stats(), "local": l.local.Stats(), "remote": l.remote.Stats(), "query": l.queries.Stats(), "store": l.places.Stats(),
	}
}

// origin is where a load has got to; it travels in the ctx of the one who caused it.
type origin struct{ layer atomic.Pointer[string] }

type originKey struct{}

var atStore = "store"

// read reads the store: one of the places, and then the time that it takes.
func (l *layers) read(ctx context.Context, sku string) (Product, error) {
	return breaker.Do(ctx, l.places, func(ctx context.Context) (p Product, err error) {
		if o, ok := ctx.Value(originKey{}).(*origin); ok {
			o.layer.Store(&atStore)
		}
		pause(ctx, work)
		found := false
		l.catalog.View(func(c catalog, _ eventsource.Position) { p, found = c[sku] })
		if !found {
			return p, cache.ErrNotFound
		}
		return p, ctx.Err()
	})
}

// one finds a product, wherever it is.
func (l *layers) one(ctx context.Context, sku string) (Answer, error) {
	o := &origin{}
	ctx = context.WithValue(ctx, originKey{}, o)
	front := l.front()
	switch {
	case front == nil:
		p, err := l.query(ctx, sku)
		return provenance(cache.Entry[Product]{Value: p}, o), err
	case !l.on("coalescing", true):
		return l.alone(ctx, front, sku, o)
	}
	e, err := front.GetEntry(ctx, sku)
	return provenance(e, o), err
}

// alone is what a cache does that lets each miss read for itself, as one would write
// it by hand: with a thousand readers of a key that is missing, a thousand times.
func (l *layers) alone(ctx context.Context, front *cache.Cache[string, Product], sku string, o *origin) (Answer, error) {
	if e, err := front.Lookup(ctx, sku); err == nil && !e.Stale {
		return provenance(e, o), nil
	}
	p, err := l.read(ctx, sku)
	if err == nil {
		_ = front.Set(ctx, sku, p) // what cannot be kept is read again
	}
	return provenance(cache.Entry[Product]{Value: p}, o), err
}

// provenance says where an entry comes from.
func provenance(e cache.Entry[Product], o *origin) Answer {
	a := Answer{Data: e.Value, Source: "cache", Stale: e.Stale, AgeMs: float64(e.Age) / float64(time.Millisecond)}
	switch e.Layer {
	case cache.LayerLocal:
		a.Layer = "l1"
	case cache.LayerRemote:
		a.Layer = "l2"
	default:
		a.Layer = "query"
		if o.layer.Load() != nil {
			a.Source, a.Layer = "store", "store"
		}
	}
	return a
}

// many finds several at once; who is not there is left out.
func (l *layers) many(ctx context.Context, skus []string) ([]Answer, error) {
	out := []Answer{}
	if len(skus) == 0 {
		return out, nil
	}
	front := l.front()
	if front == nil || !l.on("coalescing", true) {
		for _, sku := range skus {
			if a, err := l.one(ctx, sku); err == nil {
				out = append(out, a)
			} else if !errors.Is(err, cache.ErrNotFound) {
				return nil, err
			}
		}
		return out, nil
	}
	found, err := front.GetMany(ctx, skus)
	if err != nil && len(found) == 0 {
		return nil, err
	}
	for _, sku := range skus {
		p, ok := found[sku]
		if !ok {
			continue
		}
		a := Answer{Data: p, Source: "store", Layer: "store"}
		if e, ok := front.Peek(sku); ok && e.Value.Version == p.Version {
			a.Source, a.Layer, a.Stale, a.AgeMs = "cache", "l1", e.Stale, float64(e.Age)/float64(time.Millisecond)
		}
		out = append(out, a)
	}
	return out, err
}

// fresh reads past all caches, and leaves what it found in them.
func (l *layers) fresh(ctx context.Context, sku string) (Answer, error) {
	if err := l.queries.Invalidate(ctx, sku); err != nil {
		return Answer{}, err
	}
	front := l.front()
	if front == nil {
		return l.one(ctx, sku)
	}
	p, err := front.Refresh(ctx, sku)
	return Answer{Data: p, Source: "store", Layer: "store"}, err
}

// invalidate forgets a product here and, by the bus, everywhere.
func (l *layers) invalidate(ctx context.Context, sku string) error {
	if err := l.queries.Invalidate(ctx, sku); err != nil { // before what it would fill again
		return err
	}
	// All of them, whichever is asked now: one that is switched on again must not come
	// back with what it had.
	return errors.Join(l.local.Invalidate(ctx, sku), l.remote.Invalidate(ctx, sku), l.shared.Invalidate(ctx, sku))
}
