package retryhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// flaky answers 503 to the first requests, and then 200.
func flaky(failures int32) *httptest.Server {
	var requests atomic.Int32
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= failures {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "Ada, key ", r.Header.Get("Idempotency-Key"))
	}))
}

// Any client retries once its Transport does.
func Example() {
	server := flaky(2)
	defer server.Close()
	client := &http.Client{Transport: &retryhttp.Transport{
		Policy: &retry.Policy{
			AttemptTimeout: 5 * time.Second,
			Backoff:        retry.FullJitter(time.Millisecond, time.Second),
		},
	}}
	res, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output: 200 OK
}

// A budget per backend, and a log of what is retried.
func ExampleTransport() {
	server := flaky(1)
	defer server.Close()
	client := &http.Client{Transport: &retryhttp.Transport{
		Policy: &retry.Policy{
			Backoff: retry.Constant(time.Millisecond),
			Budget:  retry.NewBudget(retry.BudgetConfig{}),
			OnEvent: func(_ context.Context, e retry.Event) {
				if status, ok := errors.AsType[*retryhttp.StatusError](e.Err); ok && !e.Last {
					fmt.Println("attempt", e.N, "got", status.Code)
				}
			},
		},
	}}
	res, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output:
	// attempt 1 got 503
	// 200 OK
}

// With a key a POST may be sent twice, if the server remembers keys.
func ExampleTransport_idempotencyKey() {
	server := flaky(2)
	defer server.Close()
	client := &http.Client{Transport: &retryhttp.Transport{
		Policy:         &retry.Policy{Backoff: retry.Constant(time.Millisecond)},
		IdempotencyKey: func() string { return "7f3a" }, // such as crypto/rand.Text
	}}
	res, err := client.Post(server.URL, "application/json", strings.NewReader(`{"name":"Ada"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	// Output: Ada, key 7f3a
}

// A second request goes out when the first one takes too long.
func ExampleTransport_hedge() {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			<-r.Context().Done() // until the client leaves
			return
		}
		fmt.Fprint(w, "Ada")
	}))
	defer server.Close()
	client := &http.Client{Transport: &retryhttp.Transport{
		Hedge: &hedge.Policy{Delay: 10 * time.Millisecond, Latency: hedge.NewLatency(0.95)},
	}}
	res, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	// Output: Ada
}
