// Command breaker-fallback answers from what it knows while its price service is
// out, and says so: an old answer is labelled, never passed off as a new one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// Answer is what the client gets. Source tells a fresh price from a kept one.
type Answer struct {
	Data   int    `json:"data"`
	Source string `json:"source"` // "service" or "cache"
	Stale  bool   `json:"stale"`
}

// Prices asks a service, and keeps the last price that it got.
type Prices struct {
	breaker *breaker.Breaker
	service func(ctx context.Context, sku string) (int, error)
	known   map[string]int
}

// Get falls back for every error, also for a failure while the breaker is still
// closed: the client does not care which of the two it was. A fallback is plain
// Go, after Do; the breaker has seen the failure by then.
func (p *Prices) Get(ctx context.Context, sku string) (Answer, error) {
	price, err := breaker.Do(ctx, p.breaker, func(ctx context.Context) (int, error) {
		return p.service(ctx, sku)
	})
	if err == nil {
		p.known[sku] = price
		return Answer{Data: price, Source: "service"}, nil
	}
	if kept, ok := p.known[sku]; ok {
		return Answer{Data: kept, Source: "cache", Stale: true}, nil
	}
	return Answer{}, err // nothing to fall back to: the error is the answer
}

func main() {
	price, up, asked := 499, true, 0
	p := &Prices{
		breaker: breaker.New(breaker.Config{Name: "prices", Consecutive: 2, OpenFor: 600 * time.Millisecond}),
		known:   map[string]int{},
		service: func(context.Context, string) (int, error) {
			asked++
			if !up {
				return 0, errors.New("price service is out")
			}
			return price, nil
		},
	}
	show := func(sku string) {
		answer, err := p.Get(context.Background(), sku)
		text, _ := json.Marshal(answer) // a struct of plain fields
		if err != nil {
			text = []byte("error: " + err.Error())
		}
		fmt.Printf("asked %d  breaker %-6s  %s %s\n", asked, p.breaker.State(), sku, text)
	}
	show("P-1")
	fmt.Println("-- the service goes out, and the price changes unseen")
	price, up = 549, false
	for _, sku := range []string{"P-1", "P-1", "P-1", "P-2"} {
		show(sku)
	}
	fmt.Println("-- the service is back, and the open time is over")
	up = true
	time.Sleep(p.breaker.RetryAfter())
	show("P-1")
}
