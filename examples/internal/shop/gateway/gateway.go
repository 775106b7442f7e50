// Package gateway is the only entry for clients. It knows who they are, what they may
// do and how much of it; it leads each request to a service, and answers for that
// service when it cannot: 503 with Retry-After when it is out, 504 when it did not
// answer in time.
//
//	routes.go   what there is, and for whom
//	access.go   tokens and sessions
//	meter.go    a hundred requests a minute
//
// It is no httputil.ReverseProxy: that streams, and what has been streamed cannot
// be repeated. With bodies of 64 KiB at most, a whole answer in memory is the
// cheaper way to a retry that is invisible to the client.
package gateway

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// What is passed on in each direction. A list of what may pass is safe where a
// list of what may not is one header short some day: what a client claims about
// time, tries, trace or identity is not on it.
var (
	requestHeaders = []string{"Accept", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"}
	answerHeaders  = []string{
		"Allow", "Content-Type", "Cache-Control", "Cache-Status", "ETag", "Idempotent-Replayed", "Location", "Retry-After",
		versionHeader, wire.HeaderFault, wire.HeaderGaveUp,
	}
)

const (
	versionHeader = "X-Version"
	floorHeader   = "X-Min-Version"
)

// gateway is what all routes share.
type gateway struct {
	clients  map[string]*wire.Client
	access   *access
	meters   meters
	versions *cache.Cache[string, uint64] // the highest that was seen, by path
}

// New returns the gateway's routes. An order needs a user, so orders has to call on
// and gets the longer time limit.
func New(n *wire.Node) (*http.ServeMux, error) {
	g := &gateway{clients: map[string]*wire.Client{}, meters: newMeters()}
	for _, rt := range routes {
		if g.clients[rt.Service] == nil {
			g.clients[rt.Service] = n.Client(rt.Service, rt.Service == "orders")
		}
	}
	var err error
	if g.access, err = newAccess(n, g.clients["users"]); err != nil {
		return nil, err
	}
	if g.versions, err = cache.New(cache.Config[string, uint64]{MaxEntries: 10_000}); err != nil {
		return nil, err
	}
	n.Own(g.versions)
	mux := http.NewServeMux()
	mux.Handle("GET /routes", wire.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		return wire.WriteJSON(w, http.StatusOK, routes)
	}))
	places := shedding()
	for _, rt := range routes {
		mux.Handle(rt.Method+" "+rt.Path, places.Wrap(wire.Handler(func(w http.ResponseWriter, r *http.Request) error {
			return g.serve(w, r, rt)
		})))
	}
	return mux, nil
}

// maxInFlight is how many requests the gateway works on at once. At 2,000 a
// second and 5 ms each it needs ten; more than a few hundred are a queue that
// nobody can see, and whose callers have left before it gets to them.
const maxInFlight = 256

// shedding refuses what comes beyond maxInFlight at once, before a byte of the
// body is read: a breaker guards a callee, this guards the gateway itself.
func shedding() *breakerhttp.Middleware {
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Name: "gateway", Max: maxInFlight})
	return &breakerhttp.Middleware{
		Gate: func(*http.Request) breaker.Gate { return places },
		Refuse: func(w http.ResponseWriter, r *http.Request, err error) {
			wire.WriteProblem(w, r, wire.Unavailable("gateway", err))
		},
	}
}

// serve asks who it is, whether he has asked too often, and whether he may, in this
// order: a token that does not hold must not get to guess for free.
func (g *gateway) serve(w http.ResponseWriter, r *http.Request, rt route) error {
	caller, err := g.access.identify(r)
	if gate := g.meters.of(r, caller); gate != nil {
		permit, refused := gate.Allow(r.Context())
		if refused != nil {
			return tooMany(refused)
		}
		permit.Done(nil)
	}
	if rt.For != anyone {
		if err != nil {
			return deny(w, err)
		}
		if rt.For == operator && caller.role != operator {
			return wire.NewProblem(http.StatusForbidden, "forbidden", "this is for operators")
		}
	}
	return g.forward(w, r, rt, caller)
}

// forward passes one request on, with the whole body in memory: it is 64 KiB at
// most, and a body that has been read can be sent again.
func (g *gateway) forward(w http.ResponseWriter, r *http.Request, rt route, who caller) error {
	body, err := wire.ReadBody(w, r)
	if err != nil {
		return err
	}
	header := pick(r.Header, requestHeaders)
	header.Set(wire.HeaderRole, who.role)
	if who.user != "" {
		header.Set(wire.HeaderUser, who.user)
	}
	path := rt.upstream(r)
	if seen, ok := g.versions.Peek(path); ok { // older than that is nothing to be shown again
		header.Set(floorHeader, strconv.FormatUint(seen.Value, 10))
	}
	answer, err := g.clients[rt.Service].Do(r.Context(), wire.Request{Method: r.Method, Path: path, Header: header, Body: body})
	if err != nil {
		return explain(w, r, rt.Service, err)
	}
	g.remember(r.Context(), path, answer)
	pass(w, r, answer)
	return nil
}

// remember keeps the version that an answer shows, if it is the highest yet.
func (g *gateway) remember(ctx context.Context, path string, a *wire.Response) {
	version, err := strconv.ParseUint(a.Header.Get(versionHeader), 10, 64)
	if err != nil {
		return
	}
	if seen, ok := g.versions.Peek(path); !ok || version > seen.Value {
		_ = g.versions.Set(ctx, path, version) // a cache without a sink has nothing that fails
	}
}

// explain answers for a service that failed. An answer of the service itself is
// passed on, since it knows best what happened and when to come back.
func explain(w http.ResponseWriter, r *http.Request, service string, err error) error {
	if e, ok := errors.AsType[*wire.StatusError](err); ok {
		pass(w, r, e.Response)
		return nil
	}
	// What the breaker refused is a refusal, also when an earlier try of the same
	// call ran out of time: when to come back is the better news.
	timedOut := errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, breaker.ErrRejected)
	p := wire.Unavailable(service, err)
	if timedOut {
		p.Status, p.Title = http.StatusGatewayTimeout, http.StatusText(http.StatusGatewayTimeout)
		p.Type, p.Detail = "/problems/timeout", service+" did not answer in time"
	}
	return p
}

// pass passes an answer on. A Location names the path that clients know; and what
// was made for one who has signed in is for nobody else.
func pass(w http.ResponseWriter, r *http.Request, a *wire.Response) {
	h := w.Header()
	maps.Copy(h, pick(a.Header, answerHeaders))
	if loc := h.Get("Location"); strings.HasPrefix(loc, "/") {
		h.Set("Location", "/api"+loc)
	}
	if r.Header.Get("Authorization") != "" {
		h.Set("Cache-Control", "private")
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client is gone if this fails
}

// pick returns the headers that are on the list and present.
func pick(h http.Header, keys []string) http.Header {
	out := make(http.Header, len(keys))
	for _, key := range keys {
		if values := h.Values(key); len(values) > 0 {
			out[http.CanonicalHeaderKey(key)] = values
		}
	}
	return out
}
