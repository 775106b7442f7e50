package products

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// layers are the caches before the store, and the store's own limit.
type layers struct {
	shared  *cache.Cache[string, Product] // L1, and L2 behind it
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
		catalog: c,
		places:  limit.NewConcurrency(limit.ConcurrencyConfig{Name: "store", Max: readers, Queue: queue}),
	}
	l.queries, err = cache.New(cache.Config[string, Product]{
		MaxEntries: 1000, CountHits: true,
		Policy: cache.Policy{TTL: settings.QueryTTL, LoadTimeout: settings.PerTry},
		Load:   l.read,
	})
	if err != nil {
		return nil, err
	}
	remote, bus := n.Cache()
	l.shared, err = cache.New(cache.Config[string, Product]{
		MaxEntries: 1000, CountHits: true,
		Policy: cache.Policy{
			TTL: settings.SharedTTL, LocalTTL: settings.LocalTTL, NotFoundTTL: settings.QueryTTL,
			// A price of ten minutes ago, labelled as such, is better than none.
			StaleIfError: 10 * time.Minute, LoadTimeout: settings.PerTry,
		},
		Load:   func(ctx context.Context, sku string) (Product, error) { return l.queries.Get(ctx, sku) },
		Remote: remote, Bus: bus, RemoteTimeout: settings.PerTry / 4,
		OnEvent: func(e cache.Event) { n.Tell("cache", told{string(e.Kind), e.Key, e.Count}) },
	})
	if err != nil {
		return nil, err
	}
	n.Own(l.queries, l.shared)
	n.Section("cache", func() any { return wire.Entry{Name: n.Name(), Value: l.stats()} })
	return l, nil
}

// told is a cache.Event in words.
type told struct {
	Kind  string `json:"kind"`
	Key   string `json:"key,omitempty"`
	Count int    `json:"count,omitempty"`
}

func (l *layers) stats() map[string]any {
	return map[string]any{"shared": l.shared.Stats(), "query": l.queries.Stats(), "store": l.places.Stats()}
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
	e, err := l.shared.GetEntry(context.WithValue(ctx, originKey{}, o), sku)
	return provenance(e, o), err
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
	found, err := l.shared.GetMany(ctx, skus)
	if err != nil && len(found) == 0 {
		return nil, err
	}
	for _, sku := range skus {
		p, ok := found[sku]
		if !ok {
			continue
		}
		a := Answer{Data: p, Source: "store", Layer: "store"}
		if e, ok := l.shared.Peek(sku); ok && e.Value.Version == p.Version {
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
	p, err := l.shared.Refresh(ctx, sku)
	return Answer{Data: p, Source: "store", Layer: "store"}, err
}

// invalidate forgets a product here and, by the bus, everywhere.
func (l *layers) invalidate(ctx context.Context, sku string) error {
	if err := l.queries.Invalidate(ctx, sku); err != nil { // before what it would fill again
		return err
	}
	return l.shared.Invalidate(ctx, sku)
}
