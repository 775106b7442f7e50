package saga_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/saga"
)

// W1: a chain of ten steps that do nothing, in memory.
func BenchmarkChainOf10(b *testing.B) {
	type order struct {
		ID     int    `json:"id"`
		User   string `json:"user"`
		Paid   bool   `json:"paid"`
		Stock  string `json:"stock"`
		Parcel string `json:"parcel"`
		N      int    `json:"n"`
	}
	c, err := saga.New(saga.NewMemory(), saga.Config{})
	if err != nil {
		b.Fatal(err)
	}
	d := saga.Definition[order]{Name: "order"}
	for i := range 10 {
		d.Steps = append(d.Steps, saga.Step[order]{
			Name: fmt.Sprint("step-", i),
			Do:   func(_ context.Context, o *order) error { o.N++; return nil },
			Undo: func(context.Context, *order) error { return nil },
		})
	}
	s, err := saga.Register(c, d)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if _, err := s.Run(ctx, fmt.Sprint("order-", n), order{ID: n, User: "ada"}); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
}
