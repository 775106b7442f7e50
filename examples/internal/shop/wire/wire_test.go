package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestListenersAreLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.168.1.1:0", "localhost:0", ":0", "[::]:0", "example.org:80", "127.0.0.1"} {
		_, err := wire.TCP{}.Listen(addr)
		assert.Error(t, err, "%s", addr)
	}
	for _, addr := range []string{"127.0.0.1:80", "[::1]:80", "127.9.9.9:0"} {
		assert.NoError(t, wire.CheckLoopback(addr))
	}
}

func TestAPreferredPortThatIsTakenIsReplaced(t *testing.T) {
	for name, network := range map[string]wire.Network{"tcp": wire.TCP{}, "pipe": &wire.Pipe{}} {
		first, err := network.Listen("127.0.0.1:0")
		require.NoError(t, err, "%s", name)
		if name == "tcp" {
			second, err := wire.ListenPreferred(network, first.Addr().(*net.TCPAddr).Port)
			require.NoError(t, err)
			assert.NotEqual(t, first.Addr().String(), second.Addr().String())
			second.Close()
		}
		_, err = network.Listen(first.Addr().String())
		assert.ErrorIs(t, err, syscall.EADDRINUSE, "%s", name)
		first.Close()
		again, err := network.Listen(first.Addr().String())
		require.NoError(t, err, "%s", name)
		again.Close()
	}
}

// The network in memory refuses as TCP does: by the same type and errno, since
// callers decide by them whether anything was sent.
func TestADialToNobodyIsRefused(t *testing.T) {
	for name, network := range map[string]wire.Network{"tcp": wire.TCP{}, "pipe": &wire.Pipe{}} {
		ln, err := network.Listen("127.0.0.1:0")
		require.NoError(t, err)
		ln.Close()
		_, err = network.DialContext(t.Context(), "tcp", ln.Addr().String())
		assert.ErrorIs(t, err, syscall.ECONNREFUSED, "%s", name)
		var op *net.OpError
		op, _ = err.(*net.OpError)
		require.True(t, op != nil && op.Op == "dial", "%s: %#v", name, err)
	}
}

func settings() wire.Settings {
	return wire.Settings{
		PerTry: 300 * time.Millisecond, Composite: 1200 * time.Millisecond, Deadline: 3 * time.Second, Attempts: 3,
		Pause: 25 * time.Millisecond, FailureRate: 0.5, MinCalls: 10, Window: 2 * time.Second, OpenFor: 2 * time.Second,
		SagaDeadline: 20 * time.Second, Keep: time.Minute, Lease: 2 * time.Second, QueryTTL: time.Second, LocalTTL: 5 * time.Second, SharedTTL: time.Minute,
	}
}

// T24: a duration that is changed alone is noticed.
func TestSettingsAreCheckedAsAWhole(t *testing.T) {
	require.NoError(t, settings().Validate())
	for say, change := range map[string]func(*wire.Settings){
		"per try 5ms must exceed": func(s *wire.Settings) { s.PerTry = 5 * time.Millisecond },
		"must be positive":        func(s *wire.Settings) { s.Attempts = 0 },
		"composite 1.2s":          func(s *wire.Settings) { s.PerTry = time.Second },
		"composite 500ms":         func(s *wire.Settings) { s.Composite = 500 * time.Millisecond },
		"5 tries":                 func(s *wire.Settings) { s.Attempts = 5 },
		"pauses (1.8s)":           func(s *wire.Settings) { s.Pause = 300 * time.Millisecond },
		"deadline 1s must exceed": func(s *wire.Settings) { s.Deadline = time.Second },
		"saga deadline 5s":        func(s *wire.Settings) { s.SagaDeadline = 5 * time.Second },
		"lives of query":          func(s *wire.Settings) { s.LocalTTL = time.Millisecond },
		"lease 300ms":             func(s *wire.Settings) { s.Lease = 300 * time.Millisecond },
		"keep":                    func(s *wire.Settings) { s.Keep = s.Deadline },
		"probes would overlap":    func(s *wire.Settings) { s.OpenFor = 100 * time.Millisecond },
		"FailureRate":             func(s *wire.Settings) { s.FailureRate = 2 },
	} {
		s := settings()
		change(&s)
		err := s.Validate()
		require.Error(t, err, "%s", say)
		assert.Contains(t, err.Error(), say)
	}
}

// serve runs a callee at port 3000 of network that answers with handler.
func serve(t *testing.T, network wire.Network, handler http.Handler) *wire.Node {
	t.Helper()
	ln, err := network.Listen("127.0.0.1:3000")
	require.NoError(t, err)
	n := wire.NewNode(wire.Config{Name: "callee", Network: network, Settings: settings()})
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	n.Serve(ln, mux)
	return n
}

// pair is a caller and a callee in fake time. The callee answers with handler.
func pair(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, c *wire.Client, caller, callee *wire.Node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		callee := serve(t, network, handler)
		caller := wire.NewNode(wire.Config{
			Name: "caller", Network: network, Settings: settings(), Peers: map[string][]wire.Instance{"callee": {{Name: "callee", URL: "http://127.0.0.1:3000"}}},
		})
		c := caller.Client("callee", false)
		ln, err := network.Listen("127.0.0.1:3001")
		require.NoError(t, err)
		caller.Serve(ln, http.NewServeMux())
		test(t, c, caller, callee)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		caller.Stop(ctx)
		callee.Stop(ctx)
	})
}

func TestTheClientRepeatsWhatMayBeRepeated(t *testing.T) {
	for _, c := range []struct {
		name    string
		request wire.Request
		answer  func(w http.ResponseWriter)
		tries   int64
	}{
		{"a GET", wire.Request{Method: "GET"}, func(w http.ResponseWriter) { w.WriteHeader(500) }, 3},
		{"a POST without a key", wire.Request{Method: "POST"}, func(w http.ResponseWriter) { w.WriteHeader(500) }, 1},
		{"a POST with a key", wire.Request{Method: "POST", Header: http.Header{"Idempotency-Key": {"k"}}}, func(w http.ResponseWriter) { w.WriteHeader(503) }, 3},
		{"not a 404", wire.Request{Method: "GET"}, func(w http.ResponseWriter) { w.WriteHeader(404) }, 1},
		{"not what has been given up", wire.Request{Method: "GET"}, func(w http.ResponseWriter) {
			w.Header().Set(wire.HeaderGaveUp, "deeper")
			w.WriteHeader(503)
		}, 1},
		{"not beyond the deadline", wire.Request{Method: "GET"}, func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(503)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tries atomic.Int64
			var numbers [4]string
			pair(t, func(w http.ResponseWriter, r *http.Request) {
				numbers[min(tries.Add(1), 3)] = r.Header.Get(wire.HeaderAttempt)
				c.answer(w)
			}, func(t *testing.T, client *wire.Client, caller, _ *wire.Node) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				c.request.Path = "/"
				_, err := client.Do(ctx, c.request)
				assert.Equal(t, c.name == "not a 404", err == nil)
				assert.Equal(t, c.tries, tries.Load())
				assert.Equal(t, "1", numbers[1])
				if c.tries == 3 {
					assert.Equal(t, "3", numbers[3])
				}
				assert.Equal(t, uint64(c.tries), caller.Stats().Retry["caller/callee"].Attempts)
			})
		})
	}
}

// A callee that sends its header and then hangs has not answered.
func TestTheTimeLimitCoversTheBody(t *testing.T) {
	pair(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(time.Second)
	}, func(t *testing.T, c *wire.Client, _, _ *wire.Node) {
		begin := time.Now()
		_, err := c.Do(t.Context(), wire.Request{Method: "POST", Path: "/"})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 300*time.Millisecond, time.Since(begin))
	})
}

// T11: the next hop has 5 ms less than this one, never more.
func TestRemainingTimeShrinksOnEveryHop(t *testing.T) {
	var told string
	pair(t, func(w http.ResponseWriter, r *http.Request) {
		told = r.Header.Get(wire.HeaderTimeout)
		deadline, ok := r.Context().Deadline()
		assert.True(t, ok && time.Until(deadline) == 95*time.Millisecond, "%v", time.Until(deadline))
	}, func(t *testing.T, c *wire.Client, _, _ *wire.Node) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := c.Do(ctx, wire.Request{Method: "GET", Path: "/", Header: http.Header{wire.HeaderTimeout: {"9999"}}})
		assert.NoError(t, err)
		assert.Equal(t, "95", told)
	})
}

func TestAPanicIsA500AndTheServiceGoesOn(t *testing.T) {
	pair(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("oops")
		}
	}, func(t *testing.T, c *wire.Client, _, callee *wire.Node) {
		_, err := c.Do(t.Context(), wire.Request{Method: "POST", Path: "/panic"})
		require.Error(t, err)
		assert.Contains(t, err.Error(), "500")
		_, err = c.Do(t.Context(), wire.Request{Method: "POST", Path: "/"})
		assert.NoError(t, err)
		assert.Equal(t, uint64(1), callee.Stats().Errors)
	})
}

// Telemetry is in nobody's way: while the collector is gone records are kept up
// to a bound, the loss is counted, and what is left arrives later.
func TestTelemetryIsBoundedAndCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		n := wire.NewNode(wire.Config{Name: "n", Network: network, Settings: settings(), Secret: "s", Collect: "http://127.0.0.1:9/ingest"})
		ln, err := network.Listen("127.0.0.1:3000")
		require.NoError(t, err)
		n.Serve(ln, http.NewServeMux())
		for range 2000 {
			n.Tell("event", nil)
		}
		time.Sleep(50 * time.Millisecond)
		assert.InDelta(t, 2000-1024, float64(n.Stats().Dropped), 2)

		var records, wrong int
		collect, err := network.Listen("127.0.0.1:9")
		require.NoError(t, err)
		srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if !wire.SecretMatches(r, "s") || wire.SecretMatches(r, "") || wire.SecretMatches(r, "other") {
				wrong++
			}
			body, _ := io.ReadAll(r.Body)
			for line := range strings.Lines(string(body)) {
				var rec wire.Record
				if json.Unmarshal([]byte(line), &rec) != nil || rec.Service != "n" {
					wrong++
				}
				records++
			}
		})}
		go func() { _ = srv.Serve(collect) }() // ends with Close
		time.Sleep(150 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n.Stop(ctx)
		srv.Close()
		assert.True(t, records >= 1024, "%d records arrived", records)
		assert.Equal(t, 0, wrong)
	})
}

func TestAClientWithoutAnAddressIsAMistakeInTheWiring(t *testing.T) {
	n := wire.NewNode(wire.Config{Name: "n", Network: &wire.Pipe{}, Settings: settings()})
	assert.Panics(t, func() { n.Client("nobody", false) })
}

// T10: a caller without time left is turned away, and the callee is not blamed
// for what it was never asked.
func TestCallersInAHurryOpenNoBreaker(t *testing.T) {
	var asked atomic.Int64
	answer := func(http.ResponseWriter, *http.Request) { asked.Add(1) }
	pair(t, answer, func(t *testing.T, c *wire.Client, caller, _ *wire.Node) {
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Millisecond)
			_, err := c.Do(ctx, wire.Request{Method: "GET", Path: "/"})
			cancel()
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		}
		assert.Contains(t, string(caller.Stats().Breakers["caller/callee"]), `"state":"closed"`)
		_, err := c.Do(t.Context(), wire.Request{Method: "GET", Path: "/"})
		require.NoError(t, err)
		assert.Equal(t, int64(1), asked.Load())
	})
}

func TestAnAnswerThatIsTooLongIsAnErrorAndNotHalfAnAnswer(t *testing.T) {
	long := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20+1)) }
	pair(t, long, func(t *testing.T, c *wire.Client, _, callee *wire.Node) {
		_, err := c.Do(t.Context(), wire.Request{Method: "GET", Path: "/"})
		require.Error(t, err)
		assert.Contains(t, err.Error(), "longer than 1048576 bytes")
		assert.Equal(t, uint64(1), callee.Stats().Requests, "the next answer would be as long")
	})
}

// A client that sends a byte an hour would otherwise hold a goroutine and a
// connection as long as it likes.
func TestABodyThatDoesNotArriveIsGivenUp(t *testing.T) {
	read := wire.Handler(func(w http.ResponseWriter, r *http.Request) error {
		_, err := wire.ReadBody(w, r)
		return err
	})
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		n := serve(t, network, read)
		defer n.Stop(t.Context())
		conn, err := network.DialContext(t.Context(), "tcp", "127.0.0.1:3000")
		require.NoError(t, err)
		defer conn.Close()
		begin := time.Now()
		_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: callee\r\nContent-Length: 1000\r\n\r\n{")
		require.NoError(t, err)
		answer, err := io.ReadAll(conn) // to its end: the connection is closed
		require.NoError(t, err)
		assert.Contains(t, string(answer), "408 Request Timeout")
		assert.Equal(t, 3*time.Second, time.Since(begin))
	})
}

// T27: a long outage is not followed by a recovery as long: after twenty failed probes
// the breaker is open for as long as after the first.
func TestTheOpenTimeDoesNotGrow(t *testing.T) {
	var well atomic.Bool
	answer := func(w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	pair(t, answer, func(t *testing.T, c *wire.Client, _, _ *wire.Node) {
		call := func() error {
			_, err := c.Do(t.Context(), wire.Request{Method: http.MethodGet, Path: "/", Once: true})
			return err
		}
		for range settings().MinCalls {
			assert.Error(t, call())
		}
		assert.False(t, c.Available())
		open := settings().OpenFor * 11 / 10 // with the breaker's jitter
		for range 20 {
			time.Sleep(open)
			assert.False(t, errors.Is(call(), breaker.ErrRejected), "it is let through as a probe")
		}
		well.Store(true)
		time.Sleep(open)
		assert.NoError(t, call())
	})
}
