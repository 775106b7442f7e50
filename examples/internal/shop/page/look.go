package page

// This file passes on what only a service itself can show or do: its breakers, its
// sagas, its events. The page has no way to a service but this one, and only to
// what is listed here; the answer is the service's own.

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// routeLook adds what is passed on. A name may have a slash, such as
// orders/payments; in a path it is escaped.
func routeLook(mux *http.ServeMux, shop Shop) {
	pass := func(pattern string, route func(r *http.Request) (service, path string, err error)) {
		mux.Handle(pattern, wire.Handler(func(w http.ResponseWriter, r *http.Request) error {
			service, path, err := route(r)
			if err != nil {
				return err
			}
			return passOn(shop, service, path, w, r)
		}))
	}
	pass("POST /control/breakers/{name}/{action}", breakerRoute)
	pass("GET /control/sagas", func(r *http.Request) (string, string, error) {
		return "orders", "/_control/sagas?" + r.URL.RawQuery, nil
	})
	pass("GET /control/sagas/{id}", func(r *http.Request) (string, string, error) {
		return "orders", "/_control/sagas/" + url.PathEscape(r.PathValue("id")), nil
	})
	pass("POST /control/sagas/{id}/resolve", func(r *http.Request) (string, string, error) {
		return "orders", "/_control/sagas/" + url.PathEscape(r.PathValue("id")) + "/resolve", nil
	})
	pass("POST /control/cache/{action}", func(r *http.Request) (string, string, error) {
		return "products", "/_control/cache/" + r.PathValue("action"), oneOf(r.PathValue("action"), "invalidate", "stampede")
	})
	pass("POST /control/projections/{name}/rebuild", func(r *http.Request) (string, string, error) {
		service, name, ok := strings.Cut(r.PathValue("name"), "/")
		if !ok {
			return "", "", wire.Invalid("want SERVICE/PROJECTION, the slash escaped")
		}
		return service, "/_control/projections/" + url.PathEscape(name) + "/rebuild", nil
	})
	pass("POST /control/dead/replay", func(*http.Request) (string, string, error) { return "mailer", "/dead/replay", nil })
	pass("GET /look/dead", func(*http.Request) (string, string, error) { return "mailer", "/dead", nil })
	pass("GET /look/log/{service}", func(r *http.Request) (string, string, error) {
		return r.PathValue("service"), "/log?" + r.URL.RawQuery, nil
	})
	pass("GET /look/wallets/{user}", func(r *http.Request) (string, string, error) {
		return "payments", "/wallets/" + url.PathEscape(r.PathValue("user")) + "?" + r.URL.RawQuery, nil
	})
}

func breakerRoute(r *http.Request) (service, path string, err error) {
	caller, callee, ok := strings.Cut(r.PathValue("name"), "/")
	if !ok {
		return "", "", wire.Invalid("want CALLER/CALLEE, the slash escaped")
	}
	action := r.PathValue("action")
	return caller, "/_control/breakers/" + url.PathEscape(callee) + "/" + action, oneOf(action, "trip", "reset", "hold", "release")
}

func oneOf(action string, allowed ...string) error {
	if slices.Contains(allowed, action) {
		return nil
	}
	return wire.Invalid("no action " + action + "; there are: " + strings.Join(allowed, ", "))
}

// passOn asks the service and answers with what it says. A service that cannot
// answer is no bug of the page.
func passOn(shop Shop, service, path string, w http.ResponseWriter, r *http.Request) error {
	var body []byte
	if r.Method != http.MethodGet {
		var err error
		if body, err = wire.ReadBody(w, r); err != nil {
			return err
		}
	}
	status, answer, err := shop.Ask(r.Context(), service, r.Method, path, body)
	if err != nil {
		return wire.Invalid(service + " cannot be asked: " + err.Error())
	}
	contentType := "application/json"
	if status >= 400 {
		contentType = "application/problem+json"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(answer) // the client is gone if this fails
	return nil
}
