// Package products is the catalogue, the service with the most traffic, which is why
// it alone runs in several replicas, and why it has caches before its store:
//
//	L1, L2        a cache.Cache: this process, and what all replicas share
//	query cache   for a second, the result of reading the store
//	store         eight readers at once, 10 ms each, as a small database would
//
// Every answer says where it comes from, how old it is and whether it is stale. The
// first replica has the log, and all writes; the others follow it over HTTP, and lag.
package products

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Writer is the callee that a replica without the log knows the one with it by.
const Writer = "products-writer"

// Service is one replica.
type Service struct {
	node    *wire.Node
	name    string
	log     wire.Events  // of the writer; nil elsewhere
	writer  *wire.Client // of the others
	catalog *wire.Model[Event, catalog]
	layers  *layers
	late    atomic.Int64 // Unix ns since when a replica has had changes that it does not show; 0 is none
}

// Answer is a product with its provenance.
type Answer struct {
	Data   Product `json:"data"`
	Source string  `json:"source"` // "cache" or "store"
	Layer  string  `json:"layer"`  // "l1", "l2", "query" or "store"
	Stale  bool    `json:"stale"`
	AgeMs  float64 `json:"ageMs"`
}

// New returns the routes of a replica. One that is given a Writer follows it.
func New(n *wire.Node) (*http.ServeMux, error) {
	s := &Service{node: n, name: n.Name()}
	events, err := s.open(n)
	if err != nil {
		return nil, err
	}
	s.catalog = wire.NewModel(n, "catalog/"+s.name, events, codec, func() catalog { return catalog{} }, catalog.evolve)
	if s.layers, err = newLayers(n, s.catalog); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /products", wire.Handler(s.list))
	mux.Handle("GET /products/{sku}", wire.Handler(s.get))
	mux.Handle("PATCH /products/{sku}", wire.Handler(s.patch))
	mux.Handle("POST /_control/cache/{action}", n.ForControl(s.layers.steerCache))
	return mux, nil
}

// open returns the log, or a copy of it that keeps up with the writer's.
func (s *Service) open(n *wire.Node) (wire.Events, error) {
	if n.Knows(Writer) {
		s.writer = n.Client(Writer, true)
		mirror := eventsource.NewMemory()
		n.Section("lag", s.lag)
		n.Go("replication", func(ctx context.Context) error { return s.follow(ctx, mirror) })
		return mirror, nil
	}
	log, err := n.Open("events")
	if err != nil {
		return nil, err
	}
	s.log = log
	for _, p := range first {
		in := eventsource.Scope{Stream: prefix + p.SKU}
		if _, err := decider.Handle(context.Background(), log, codec, in, p); err != nil {
			return nil, err
		}
	}
	return log, nil
}

const maxPage = 100

// lagging is how much later a replica hears of changes with the switch replica-lag.
const lagging = 2 * time.Second

// list answers with the products that are asked for by ?ids=, or all behind ?after=.
func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	var skus []string
	if ids := r.URL.Query().Get("ids"); ids != "" {
		skus = strings.Split(ids, ",")
	} else {
		after := r.URL.Query().Get("after")
		s.catalog.View(func(c catalog, _ eventsource.Position) {
			for sku := range c {
				if sku > after {
					skus = append(skus, sku)
				}
			}
		})
	}
	slices.Sort(skus)
	skus = slices.Compact(skus)
	if len(skus) > maxPage {
		skus = skus[:maxPage]
	}
	out, err := s.layers.many(r.Context(), skus)
	if err != nil {
		return trouble(err)
	}
	return wire.WriteJSON(w, http.StatusOK, out)
}

// get answers with one product, not older than the version in X-Min-Version: who has
// seen a version never sees an older one.
func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	sku := r.PathValue("sku")
	floor, err := floorOf(r)
	if err != nil {
		return err
	}
	a, err := s.layers.one(r.Context(), sku)
	if err == nil && a.Data.Version < floor {
		a, err = s.newer(r.Context(), sku, floor)
	}
	if errors.Is(err, cache.ErrNotFound) {
		return wire.NewProblem(http.StatusNotFound, "product-not-found", "Product not found")
	}
	if err != nil {
		return trouble(err)
	}
	h := w.Header()
	h.Set("X-Version", strconv.FormatUint(a.Data.Version, 10))
	h.Set("Cache-Status", s.status(a))
	h.Set("ETag", `"`+strconv.FormatUint(a.Data.Version, 10)+`"`)
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return wire.WriteJSON(w, http.StatusOK, a)
}

// status names the layer that answered, in the form of RFC 9211.
func (s *Service) status(a Answer) string {
	if a.Layer == "store" {
		return s.name + "; fwd=miss"
	}
	text := s.name + "-" + a.Layer + "; hit"
	if a.Stale {
		text += "; detail=stale"
	}
	return text
}

func floorOf(r *http.Request) (uint64, error) {
	text := r.Header.Get("X-Min-Version")
	if text == "" {
		return 0, nil
	}
	floor, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, wire.Invalid("X-Min-Version must be a number")
	}
	return floor, nil
}

// patience is how long a replica waits for what it lags behind.
const patience = 100 * time.Millisecond

// newer waits for a version of a product that somebody has seen elsewhere, and reads it
// past all caches. A replica that is too far behind says so, and another one is asked.
func (s *Service) newer(ctx context.Context, sku string, floor uint64) (Answer, error) {
	end := time.Now().Add(patience)
	for s.version(sku) < floor {
		if time.Now().After(end) {
			return Answer{}, errBehind
		}
		pause(ctx, 5*time.Millisecond)
		if ctx.Err() != nil {
			return Answer{}, context.Cause(ctx)
		}
	}
	return s.layers.fresh(ctx, sku)
}

func (s *Service) version(sku string) (v uint64) {
	s.catalog.View(func(c catalog, _ eventsource.Position) { v = c[sku].Version })
	return v
}

var errBehind = errors.New("this replica is behind")

// trouble is a 503: somebody else may have the answer.
func trouble(err error) error {
	p := wire.NewProblem(http.StatusServiceUnavailable, "trouble", err.Error())
	if errors.Is(err, errBehind) {
		p.Type = "/problems/behind"
	}
	return p
}

// patch changes a price. It returns when no replica that is in reach of the bus
// answers with the old one any more.
func (s *Service) patch(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Cents int64 `json:"priceCents"`
	}
	if s.writer != nil {
		return s.forward(w, r)
	}
	if err := wire.Decode(w, r, &in, "priceCents"); err != nil {
		return err
	}
	if in.Cents < 1 || in.Cents > 1_000_000 {
		return wire.Invalid("priceCents must be from 1 to 1000000", "priceCents")
	}
	sku := r.PathValue("sku")
	scope := eventsource.Scope{Stream: prefix + sku, Key: r.Header.Get("Idempotency-Key")}
	out, err := decider.Handle(r.Context(), s.log, codec, scope, PriceChanged{sku, in.Cents})
	if errors.Is(err, errUnknown) {
		return wire.NewProblem(http.StatusNotFound, "product-not-found", "Product not found")
	}
	if err != nil {
		return err
	}
	if err := s.catalog.WaitFor(r.Context(), out.Last); err != nil {
		return err
	}
	// Also after an event that changed nothing: the one before may have died here.
	if err := s.layers.invalidate(r.Context(), sku); err != nil && !errors.Is(err, cache.ErrPending) {
		return err
	}
	w.Header().Set("X-Version", strconv.FormatUint(out.State.Version, 10))
	return wire.WriteJSON(w, http.StatusOK, out.State)
}

// forward passes a write on to the replica that has the log.
func (s *Service) forward(w http.ResponseWriter, r *http.Request) error {
	body, err := wire.ReadBody(w, r)
	if err != nil {
		return err
	}
	answer, err := s.writer.Do(r.Context(), wire.Request{
		Method: r.Method, Path: r.URL.RequestURI(), Body: body,
		Header: http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": r.Header.Values("Idempotency-Key")},
	})
	if err != nil {
		return wire.Unavailable("products", err)
	}
	for _, key := range []string{"Content-Type", "X-Version"} {
		if v := answer.Header.Get(key); v != "" {
			w.Header().Set(key, v)
		}
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // the caller is gone if this fails
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow copies the writer's log, from where the copy ends, for ever. An event keeps
// its id, so one that comes twice is there once; and what it says of a product is
// taken out of the caches here, where it may have been put after the writer had
// removed it.
func (s *Service) follow(ctx context.Context, mirror *eventsource.Memory) error {
	after := "0"
	for ctx.Err() == nil {
		answer, err := s.writer.Do(ctx, wire.Request{Method: http.MethodGet, Path: "/log?wait=500ms&after=" + after, Once: true, Poll: true})
		if err != nil || answer.Status != http.StatusOK {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		events, err := wire.ReadLog(answer.Body)
		if err != nil {
			return fmt.Errorf("log of the writer: %w", err)
		}
		if s.node.On("replica-lag", false) && len(events) > 0 {
			s.late.Store(time.Now().UnixNano())
			pause(ctx, lagging)
		}
		for _, e := range events {
			result, err := mirror.Append(ctx, []eventsource.Event{e})
			if err != nil {
				return err
			}
			if err := s.catalog.WaitFor(ctx, result.Last); err != nil {
				return err
			}
			if e.Type == "PriceChanged" {
				_ = s.layers.invalidate(ctx, strings.TrimPrefix(e.Stream, prefix)) // kept for replay if it must be
			}
		}
		s.late.Store(0)
		after = answer.Header.Get(wire.HeaderPosition)
	}
	return ctx.Err()
}

// lag is how long a replica has known of changes that it does not show.
func (s *Service) lag() any {
	l := wire.Lag{}
	if since := s.late.Load(); since > 0 {
		s.node.Stir()
		l = wire.Lag{Behind: 1, Ms: float64(time.Now().UnixNano()-since) / float64(time.Millisecond)}
	}
	return wire.Entry{Name: "replication/" + s.name, Value: l}
}
