// Command breaker-http asks a supplier over HTTP through a circuit breaker and
// prints what each call came to while the supplier goes down and comes back.
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
)

func main() {
	down, asked, n := new(atomic.Bool), new(atomic.Int64), 0
	supplier := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, "12 boxes")
	}))
	defer supplier.Close()
	b := breaker.New(breaker.Config{
		Name:        "supplier",
		Consecutive: 3,                      // open after so many failures in a row
		OpenFor:     600 * time.Millisecond, // then refuse for so long, and probe
		MaxOpenFor:  600 * time.Millisecond, // also after a probe that failed
		Timeout:     2 * time.Second,        // a call that takes longer is a failure
	})
	call := func(times int) {
		for range times {
			n++
			answer, err := breaker.Do(context.Background(), b, get(supplier.URL))
			if errors.Is(err, breaker.ErrRejected) {
				answer = "refused, the supplier was not asked"
			} else if err != nil {
				answer = "failed: " + err.Error()
			}
			fmt.Printf("call %2d  %-36s then %s\n", n, answer, b.State())
		}
	}
	call(2)
	fmt.Println("-- the supplier goes down")
	down.Store(true)
	call(5)
	fmt.Println("-- the open time is over: one call probes")
	time.Sleep(b.RetryAfter())
	call(2)
	fmt.Println("-- the supplier is back, and the open time is over again")
	down.Store(false)
	time.Sleep(b.RetryAfter())
	call(2)
	fmt.Printf("%d calls, %d reached the supplier\n", n, asked.Load())
}

// get returns an error for all but a 200: to the breaker, a 503 is no answer.
func get(url string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return string(body), err
	}
}
