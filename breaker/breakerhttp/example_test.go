package breakerhttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/breaker/limit"
)

// A client with a breaker per host.
func ExampleTransport() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()

	hosts := breaker.Group[string, *breaker.Breaker]{
		New: func(host string) *breaker.Breaker {
			return breaker.New(breaker.Config{Name: "users", Consecutive: 1})
		},
	}
	client := &http.Client{Transport: &breakerhttp.Transport{
		Breaker: func(r *http.Request) breaker.Gate { return hosts.Get(r.URL.Host) },
	}}
	for range 2 {
		resp, err := client.Get(server.URL)
		if rejected, ok := errors.AsType[*breaker.RejectedError](err); ok {
			fmt.Println(rejected, "- as asked for:", rejected.RetryAfter() > 20*time.Second)
			continue
		}
		fmt.Println(resp.Status)
		resp.Body.Close()
	}
	// Output:
	// 503 Service Unavailable
	// breaker: rejected by users (open): 503 Service Unavailable - as asked for: true
}

// A server that admits each tenant once a minute, and says so by 429.
func ExampleMiddleware() {
	tenants := breaker.Group[string, *limit.Rate]{
		New: func(string) *limit.Rate { return limit.NewRate(limit.RateConfig{PerSecond: 1.0 / 60}) },
	}
	m := &breakerhttp.Middleware{
		Gate:         func(r *http.Request) breaker.Gate { return tenants.Get(r.Header.Get("Tenant")) },
		RefuseStatus: http.StatusTooManyRequests,
	}
	h := m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	}))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Printf("%d Retry-After:%q\n", w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 Retry-After:""
	// 429 Retry-After:"60"
}

func ExampleStatusError() {
	judge := func(r *http.Response) error {
		if r.StatusCode == http.StatusConflict {
			return &breakerhttp.StatusError{Code: r.StatusCode, Delay: time.Second}
		}
		return nil
	}
	fmt.Println(judge(&http.Response{StatusCode: http.StatusConflict}))
	// Output: 409 Conflict
}
