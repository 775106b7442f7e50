package products

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// layers are the caches before the store, and the store's own limit. L1 and L2 are
// one cache; the two others are the same without one of them, for whoever wants to see
// what it is worth, and hear of changes by the same bus.
type layers struct {
	node    *wire.Node
	shared  *cache.Cache[string, Product] // L1, and L2 behind it
	local   *cache.Cache[string, Product] // L1 alone
	distant *cache.Cache[string, Product] // L2 alone
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
		node: n, catalog: c,
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
	remote, bus := n.Cache()
	config := cache.Config[string, Product]{
		MaxEntries: 1000, CountHits: true,
		Policy: cache.Policy{
			TTL: settings.SharedTTL, LocalTTL: settings.LocalTTL, NotFoundTTL: settings.QueryTTL,
			// A price of ten minutes ago, labelled as such, is better than none.
			StaleIfError: 10 * time.Minute, LoadTimeout: settings.PerTry,
		},
		Load:   l.query,
		Remote: remote, Bus: bus, RemoteTimeout: settings.PerTry / 4,
		OnEvent: func(e cache.Event) { n.Tell("cache", told{string(e.Kind), e.Key, e.Count}) },
	}
	if l.shared, err = cache.New(config); err != nil {
		return nil, err
	}
	distant := config
	distant.Policy.LocalTTL = time.Nanosecond // kept no longer than it takes to answer
	if l.distant, err = cache.New(distant); err != nil {
		return nil, err
	}
	local := config
	local.Remote, local.Policy.TTL = nil, settings.LocalTTL
	if l.local, err = cache.New(local); err != nil {
		return nil, err
	}
	n.Own(l.queries, l.shared, l.local, l.distant)
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
	return map[string]any{
		"shared": l.shared.Stats(), "local": l.local.Stats(), "distant": l.distant.Stats(),
		"query": l.queries.Stats(), "store": l.places.Stats(),
	}
}

// front is the cache that reads begin with, as the switches have it.
func (l *layers) front() *cache.Cache[string, Product] {
	l1, l2 := l.node.On("l1", true), l.node.On("l2", true)
	switch {
	case l1 && l2:
		return l.shared
	case l1:
		return l.local
	case l2:
		return l.distant
	}
	return nil
}

// query asks the query cache, or the store itself if that is switched off.
func (l *layers) query(ctx context.Context, sku string) (Product, error) {
	if l.node.On("query-cache", true) {
		return l.queries.Get(ctx, sku)
	}
	return l.read(ctx, sku)
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
	if front == nil {
		p, err := l.query(ctx, sku)
		return provenance(cache.Entry[Product]{Value: p}, o), err
	}
	if !l.node.On("coalescing", true) {
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
	if front == nil {
		return l.each(ctx, skus)
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

// each reads several without a cache, at once, as the caches do: one after the other, a
// list of eight would take eight times as long as an article, with any number of replicas.
func (l *layers) each(ctx context.Context, skus []string) ([]Answer, error) {
	answers, errs := make([]Answer, len(skus)), make([]error, len(skus))
	var wg sync.WaitGroup
	for i, sku := range skus {
		wg.Go(func() { answers[i], errs[i] = l.one(ctx, sku) })
	}
	wg.Wait()
	out := []Answer{}
	for i, err := range errs {
		switch {
		case err == nil:
			out = append(out, answers[i])
		case !errors.Is(err, cache.ErrNotFound):
			return nil, err
		}
	}
	return out, nil
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
	// The others hear of it by the bus; the one without L2 is told first, as nobody
	// else would keep the message for it.
	if err := l.local.Invalidate(ctx, sku); err != nil {
		return err
	}
	return l.shared.Invalidate(ctx, sku)
}
