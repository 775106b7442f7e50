// Command gateway routes, knows who asks, limits each client, caches what is public.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/examples/internal/token"
)

// users and fetch stand for the services behind, users mostly for a ReverseProxy.
func users(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s, asked by user %s", r.URL.Path, r.Header.Get("X-User-Id"))
}
func fetch(context.Context, string) (string, error) { return "a lamp", nil }

func newGateway(tokens *token.Keys, products *cache.Cache[string, string]) http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /api/products/{sku}", func(w http.ResponseWriter, r *http.Request) {
		page, err := products.GetEntry(r.Context(), r.PathValue("sku"))
		if err != nil {
			http.Error(w, "products are out of reach", http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%s, from %s", page.Value, page.Layer)
	})
	routes.HandleFunc("GET /api/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		text, _ := token.Bearer(r.Header.Values("Authorization")) // none is not valid either
		switch who, err := tokens.Verify(text, time.Now()); {
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "need a valid token", http.StatusUnauthorized)
		case who.Subject != r.PathValue("id"):
			http.Error(w, "this is somebody else", http.StatusForbidden)
		default:
			r.Header.Set("X-User-Id", who.Subject) // whatever the client claims to be
			http.StripPrefix("/api", http.HandlerFunc(users)).ServeHTTP(w, r)
		}
	})
	clients := breaker.Group[string, *limit.Rate]{New: func(string) *limit.Rate {
		return limit.NewRate(limit.RateConfig{PerSecond: 5.0 / 60, Burst: 5}) // five a minute
	}}
	return (&breakerhttp.Middleware{
		Gate:         func(r *http.Request) breaker.Gate { return clients.Get(strings.Split(r.RemoteAddr, ":")[0]) },
		RefuseStatus: http.StatusTooManyRequests,
	}).Wrap(routes)
}

func main() {
	tokens, err1 := token.NewKeys("users", "gateway", []byte("at least 32 bytes of crypto/rand"))
	products, err2 := cache.New(cache.Config[string, string]{Load: fetch, Policy: cache.Policy{TTL: time.Minute}})
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	now := time.Now()
	alice, _ := tokens.Sign(token.Claims{Subject: "1", Session: "s-1", IssuedAt: token.At(now), Expires: token.At(now.Add(time.Minute))})
	gateway := newGateway(tokens, products)
	ask := func(path, authorization string) {
		r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
		r.Header.Set("Authorization", authorization)
		gateway.ServeHTTP(w, r)
		fmt.Printf("GET %-17s  %d  %s\n", path, w.Code, strings.TrimSpace(w.Body.String()))
	}
	ask("/api/products/P-1", "")
	ask("/api/products/P-1", "")
	ask("/api/users/1", "Bearer "+alice)
	ask("/api/users/2", "Bearer "+alice)
	ask("/api/users/1", "Bearer "+alice[1:])
	ask("/api/users/1", "Bearer "+alice) // the sixth
}
