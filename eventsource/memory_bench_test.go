package eventsource_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
)

func BenchmarkMemoryAppend(b *testing.B) {
	ctx := context.Background()
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprint("account-", i)
	}
	data := make([]byte, 256)
	run := func(name string, conds func(i int) []eventsource.Condition) {
		b.Run(name, func(b *testing.B) {
			m := eventsource.NewMemory()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				stream := names[i*7919%len(names)]
				var err error
				e := []eventsource.Event{{Stream: stream, Type: "account.deposited", Data: data}}
				if conds == nil {
					_, err = m.Append(ctx, e)
				} else {
					_, err = m.Append(ctx, e, conds(i)...)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("W1", nil)
	run("W2", func(i int) []eventsource.Condition {
		return []eventsource.Condition{eventsource.AtVersion(names[i*7919%len(names)], uint64((i-1)/len(names)))}
	})
}

func BenchmarkMemoryScan(b *testing.B) {
	ctx := context.Background()
	m := eventsource.NewMemory()
	for i := range 100_000 {
		m.Append(ctx, []eventsource.Event{{Stream: fmt.Sprint("account-", i%1000), Type: "account.deposited", Data: make([]byte, 256)}})
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for range m.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
