package saga_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/saga"
)

type wide struct {
	ID     int    `json:"id"`
	User   string `json:"user"`
	Paid   bool   `json:"paid"`
	Stock  string `json:"stock"`
	Parcel string `json:"parcel"`
	N      int    `json:"n"`
}

// tenSteps serves W1: a chain of ten steps that do nothing, in memory.
func tenSteps(tb testing.TB) (s *saga.Saga[wide], stop func()) {
	tb.Helper()
	c, err := saga.New(saga.NewMemory(), saga.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	d := saga.Definition[wide]{Name: "order"}
	for i := range 10 {
		d.Steps = append(d.Steps, saga.Step[wide]{
			Name: fmt.Sprint("step-", i),
			Do:   func(_ context.Context, o *wide) error { o.N++; return nil },
			Undo: func(context.Context, *wide) error { return nil },
		})
	}
	if s, err = saga.Register(c, d); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	return s, func() { cancel(); <-done }
}

func BenchmarkChainOf10(b *testing.B) {
	s, stop := tenSteps(b)
	defer stop()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if _, err := s.Run(b.Context(), fmt.Sprint("order-", n), wide{ID: n, User: "ada"}); err != nil {
			b.Fatal(err)
		}
	}
}

// W1's ceiling: a saga of ten steps makes at most 30 allocations.
func TestChainOf10Allocates30TimesAtMost(t *testing.T) {
	s, stop := tenSteps(t)
	defer stop()
	ids := make([]string, 502)
	for i := range ids {
		ids[i] = fmt.Sprint("order-", i)
	}
	ctx, n := t.Context(), 0
	got := testing.AllocsPerRun(500, func() {
		n++
		if _, err := s.Run(ctx, ids[n], wide{ID: n, User: "ada"}); err != nil {
			t.Fatal(err)
		}
	})
	if got > allocationsOf10 {
		t.Errorf("%v allocations: want at most %d", got, allocationsOf10)
	}
}
