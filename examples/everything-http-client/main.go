// Command everything-http-client asks through, outermost first, a cache with stale
// answers, retries within a budget, and a breaker that sees each limited try.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

var (
	supplier = breaker.New(breaker.Config{Name: "supplier", Consecutive: 3, OpenFor: 600 * time.Millisecond})
	client   = &http.Client{
		Timeout: 2 * time.Second, // of all tries together, waits included
		Transport: &retryhttp.Transport{
			Policy: &retry.Policy{
				MaxAttempts: 3, AttemptTimeout: 250 * time.Millisecond,
				Backoff: retry.FullJitter(10*time.Millisecond, time.Second), Budget: retry.NewBudget(retry.BudgetConfig{}),
			},
			Base: &breakerhttp.Transport{Breaker: func(*http.Request) breaker.Gate { return supplier }},
		},
	}
)

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func main() {
	var tries atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := tries.Add(1); n == 2 || n >= 4 && n <= 6 {
			<-r.Context().Done() // hangs until the client has had enough
		}
		fmt.Fprint(w, "4.99")
	}))
	defer server.Close()
	prices, err := cache.New(cache.Config[string, string]{Load: get, Policy: cache.Policy{TTL: 500 * time.Millisecond, StaleIfError: time.Hour}})
	if err != nil {
		panic(err)
	}
	ask := func(sku, what string) {
		e, err := prices.GetEntry(context.Background(), server.URL+"/"+sku)
		fmt.Printf("%s  %-26s %6q from %-6s  stale %-5t  rejected %-5t  breaker %-6s  %d tries so far\n",
			sku, what, e.Value, e.Layer, e.Stale, errors.Is(err, breaker.ErrRejected), supplier.State(), tries.Load())
	}
	ask("P-1", "is asked for")
	ask("P-1", "is known")
	ask("P-2", "hangs once: tried again")
	time.Sleep(600 * time.Millisecond)
	ask("P-1", "hangs: an old answer")
	ask("P-3", "is not known: an error")
	time.Sleep(supplier.RetryAfter())
	ask("P-3", "is there again")
}
