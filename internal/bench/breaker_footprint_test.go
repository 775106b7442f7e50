package main

import (
	"runtime"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/assert"

	"github.com/keelson-go/keelson/breaker"
)

// What a closed breaker with a window of 10 s in ten buckets keeps on the
// heap, for 1e5 of them. BENCHMARKS.md states what this test logs.
func TestFootprintOfClosedBreakers(t *testing.T) {
	keelson := footprint(func() any { return breaker.New(breaker.Config{}) })
	gb := footprint(func() any {
		return gobreaker.NewCircuitBreaker[int](gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second})
	})
	fs := footprint(func() any {
		return circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.5, 20, 10*time.Second).Build()
	})
	t.Logf("bytes per closed breaker: keelson %d, gobreaker v2.4.0 %d, failsafe-go v0.9.8 %d", keelson, gb, fs)
	assert.LessOrEqual(t, keelson, 640)
}

func footprint(build func() any) int {
	const n = 100_000
	all := make([]any, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range all {
		all[i] = build()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(all)
	return int((after.HeapAlloc - before.HeapAlloc) / n)
}
