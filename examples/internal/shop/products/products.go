// Package products is the catalogue, the service with the most traffic.
package products

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Service is one replica.
type Service struct {
	log     wire.Events
	catalog *wire.Model[Event, catalog]
}

// Answer is a product with its provenance.
type Answer struct {
	Data   Product `json:"data"`
	Source string  `json:"source"` // "cache" or "store"
	Layer  string  `json:"layer"`
	Stale  bool    `json:"stale"`
	AgeMs  float64 `json:"ageMs"`
}

// New returns the service's routes.
func New(n *wire.Node) (*http.ServeMux, error) {
	log, err := n.Open("events")
	if err != nil {
		return nil, err
	}
	s := &Service{log: log}
	for _, p := range first {
		if _, err := decider.Handle(context.Background(), log, codec, eventsource.Scope{Stream: prefix + p.SKU}, p); err != nil {
			return nil, err
		}
	}
	s.catalog = wire.NewModel(n, "catalog", log, codec, catalog{}, catalog.evolve)
	mux := http.NewServeMux()
	mux.Handle("GET /products", wire.Handler(s.list))
	mux.Handle("GET /products/{sku}", wire.Handler(s.get))
	return mux, nil
}

const maxPage = 100

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
		slices.Sort(skus)
	}
	if len(skus) > maxPage {
		skus = skus[:maxPage]
	}
	out := []Answer{}
	for _, sku := range skus {
		if a, ok := s.find(sku); ok {
			out = append(out, a)
		}
	}
	return wire.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) find(sku string) (a Answer, ok bool) {
	s.catalog.View(func(c catalog, _ eventsource.Position) { a.Data, ok = c[sku] })
	a.Source, a.Layer = "store", "store"
	return a, ok
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	a, ok := s.find(r.PathValue("sku"))
	if !ok {
		return wire.NewProblem(http.StatusNotFound, "product-not-found", "Product not found")
	}
	w.Header().Set("X-Version", strconv.FormatUint(a.Data.Version, 10))
	return wire.WriteJSON(w, http.StatusOK, a)
}
