// Package gateway is the only entry for clients. It routes /api/users and
// /api/orders to the services behind it, and answers for them when they cannot:
// 503 with Retry-After when a service is out, 504 when it did not answer in time.
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
	"slices"
	"strings"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// route sends the requests of one path prefix to one service. Methods stand here
// as well as in the service, so that a DELETE is refused without a call.
type route struct {
	Path    string   `json:"path"`
	Service string   `json:"service"`
	Methods []string `json:"methods"`
	client  *wire.Client
}

// What is passed on in each direction. A list of what may pass is safe where a
// list of what may not is one header short some day: what a client claims about
// time, tries, trace or identity is not on it.
var (
	requestHeaders = []string{"Accept", "Content-Type", "Idempotency-Key"}
	answerHeaders  = []string{"Allow", "Content-Type", "Cache-Control", "Location", "Retry-After", wire.HeaderFault, wire.HeaderGaveUp}
)

// New returns the gateway's routes. It calls users and orders; an order needs
// a user, so orders has to call on and gets the longer time limit.
func New(n *wire.Node) (*http.ServeMux, error) {
	// HEAD goes with GET: it is what curl -I and most uptime checks send.
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost}
	routes := []route{
		{Path: "/api/users", Service: "users", Methods: methods, client: n.Client("users", false)},
		{Path: "/api/products", Service: "products", Methods: methods, client: n.Client("products", false)},
		{Path: "/api/orders", Service: "orders", Methods: methods, client: n.Client("orders", true)},
	}
	mux := http.NewServeMux()
	mux.Handle("GET /routes", wire.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		return wire.WriteJSON(w, http.StatusOK, routes)
	}))
	places := shedding()
	for _, rt := range routes {
		// Both forms, since the second alone would redirect the first, and not every
		// client follows a redirect of a POST.
		handler := places.Wrap(wire.Handler(rt.forward))
		mux.Handle(rt.Path, handler)
		mux.Handle(rt.Path+"/", handler)
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

// forward passes one request on, with the whole body in memory: it is 64 KiB at
// most, and a body that has been read can be sent again.
func (rt route) forward(w http.ResponseWriter, r *http.Request) error {
	if !slices.Contains(rt.Methods, r.Method) {
		w.Header().Set("Allow", strings.Join(rt.Methods, ", "))
		return wire.NewProblem(http.StatusMethodNotAllowed, "method", "allowed: "+strings.Join(rt.Methods, ", "))
	}
	body, err := wire.ReadBody(w, r)
	if err != nil {
		return err
	}
	answer, err := rt.client.Do(r.Context(), wire.Request{
		Method: r.Method,
		// As it was sent, escapes and all: decoded and encoded again, %2F is a slash.
		Path:   strings.TrimPrefix(r.URL.RequestURI(), "/api"),
		Header: pick(r.Header, requestHeaders),
		Body:   body,
	})
	if err != nil {
		return rt.explain(w, err)
	}
	rt.answer(w, answer)
	return nil
}

// explain answers for a service that failed. An answer of the service itself is
// passed on, since it knows best what happened and when to come back.
func (rt route) explain(w http.ResponseWriter, err error) error {
	if e, ok := errors.AsType[*wire.StatusError](err); ok {
		rt.answer(w, e.Response)
		return nil
	}
	// What the breaker refused is a refusal, also when an earlier try of the same
	// call ran out of time: when to come back is the better news.
	timedOut := errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, breaker.ErrRejected)
	p := wire.Unavailable(rt.Service, err)
	if timedOut {
		p.Status, p.Title = http.StatusGatewayTimeout, http.StatusText(http.StatusGatewayTimeout)
		p.Type, p.Detail = "/problems/timeout", rt.Service+" did not answer in time"
	}
	return p
}

// answer passes an answer on. A Location names the path that clients know.
func (rt route) answer(w http.ResponseWriter, a *wire.Response) {
	h := w.Header()
	maps.Copy(h, pick(a.Header, answerHeaders))
	if loc := h.Get("Location"); strings.HasPrefix(loc, "/") {
		h.Set("Location", "/api"+loc)
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
