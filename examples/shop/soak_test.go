package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A20: a shop that has worked for long holds no more than one that has just begun. With
// KEELSON_SHOP_SOAK=10m, as in make soak-shop, it works for that long, and its memory
// is looked at as well; without, for some seconds.
func TestSoak(t *testing.T) {
	span := 2 * time.Second
	text := os.Getenv("KEELSON_SHOP_SOAK")
	if text != "" {
		var err error
		span, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := &lineWriter{lines: make(chan string, 10)}
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"-addr", "127.0.0.1:0", "-rps", "0"}, out, out) }()
	page, _ := strings.CutPrefix(<-out.lines, "page")
	page = strings.TrimSuffix(strings.TrimSpace(page), "/")
	load := func(rps string) {
		status, body := do(t, http.MethodPost, page+"/control/load", `{"rps":`+rps+`}`)
		require.Equal(t, http.StatusOK, status, body)
	}
	// The first seconds of load open what stays open: connections, sessions, logs.
	load("50")
	<-time.After(span / 4)
	load("0")
	first := calm(t, text != "")
	begin, peak := time.Now(), uint64(0)
	load("50")
	for time.Since(begin) < span {
		<-time.After(min(time.Second, span/4))
		peak = max(peak, resident(t))
	}
	load("0")
	last := calm(t, text != "")
	end := snapshot(t, page)
	t.Logf("%v: goroutines %d, then %d; resident %d MB at most; a page begins with %d kB, %d points, %d lines, %d changes",
		span, first, last, peak>>20, end.size>>10, end.points, end.news, end.moves)
	assert.True(t, last <= first+5, "goroutines: %d, then %d", first, last)
	assert.True(t, end.points <= 600 && end.news <= 200 && end.moves <= 500 && end.size < 2<<20, "%+v", end)
	if text != "" {
		assert.True(t, peak < 150<<20, "resident: %d MB", peak>>20)
	}
	cancel()
	assert.Equal(t, 0, <-code)
	http.DefaultClient.CloseIdleConnections()
}

// calm waits until the last request is over, and counts the goroutines: the lowest
// number of several looks, as a shop at rest polls as well. Connections close by
// themselves when they have been idle for five seconds; all waits for that, and
// otherwise they are not counted.
func calm(t *testing.T, all bool) (least int) {
	t.Helper()
	wait, least := time.Second, 1<<30
	if all {
		wait = 8 * time.Second
	}
	for end := time.Now().Add(wait); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		http.DefaultClient.CloseIdleConnections()
		n := runtime.NumGoroutine()
		if !all {
			stacks := make([]byte, 4<<20)
			text := string(stacks[:runtime.Stack(stacks, true)])
			n -= strings.Count(text, "net/http.(*conn).serve(") + strings.Count(text, "net/http.(*persistConn).readLoop(") +
				strings.Count(text, "net/http.(*persistConn).writeLoop(") + strings.Count(text, "net/http.(*connReader).backgroundRead(")
		}
		least = min(least, n)
	}
	return least
}

// resident is the memory that this process has in use, where there is a /proc.
func resident(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	require.NoError(t, err)
	return pages * uint64(os.Getpagesize())
}

// rings are what a page begins with.
type rings struct{ size, points, news, moves int }

// snapshot reads the first frame of the stream.
func snapshot(t *testing.T, page string) (r rings) {
	t.Helper()
	resp, err := http.Get(page + "/events") //nolint:noctx // closed below
	require.NoError(t, err)
	defer resp.Body.Close()
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var doc struct{ Points, News, Moves []json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(data), &doc))
		return rings{len(data), len(doc.Points), len(doc.News), len(doc.Moves)}
	}
}
