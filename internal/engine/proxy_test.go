package engine_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// silence is how long nothing may arrive for a connection to count as silent.
const silence = 150 * time.Millisecond

// Without a fault every byte passes in both directions at once, and so does a
// half-close: the target reads to the end and still answers.
func TestProxyIsByteExact(t *testing.T) {
	proxy := engine.ProxyTo(t, digest(t))
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			sent := randomBytes(3 << 20)
			conn := dialProxy(t, proxy)
			if _, err := conn.Write(sent); err != nil {
				t.Error(err)
			}
			assert.NoError(t, conn.CloseWrite())
			got, err := io.ReadAll(conn)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(sent, got), "%d bytes sent, %d came back, or others", len(sent), len(got))
		})
	}
	clients.Wait()
}

// Faults that only delay may change at any time without losing, doubling or
// reordering a byte.
func TestProxyStaysByteExactWhileFaultsChange(t *testing.T) {
	proxy := engine.ProxyTo(t, digest(t))
	conn := dialProxy(t, proxy)
	stop := make(chan struct{})
	var switching sync.WaitGroup
	switching.Go(func() {
		faults := []engine.Fault{
			{},
			{Latency: time.Millisecond, Jitter: 2 * time.Millisecond},
			{Stall: engine.ToTarget},
			{Bandwidth: 64 << 20},
			{Stall: engine.ToClient, HalfOpen: true},
			{Bandwidth: 200 << 20, Latency: time.Millisecond, Refuse: true},
		}
		for i := 0; ; i++ {
			assert.NoError(t, proxy.Set(faults[i%len(faults)]))
			select {
			case <-stop:
				assert.NoError(t, proxy.Set(engine.Fault{}))
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	sent := randomBytes(8 << 20)
	var sending sync.WaitGroup
	sending.Go(func() {
		_, err := conn.Write(sent)
		assert.NoError(t, err)
		assert.NoError(t, conn.CloseWrite())
	})
	got, err := io.ReadAll(conn)
	assert.NoError(t, err)
	sending.Wait()
	close(stop)
	switching.Wait()
	assert.True(t, bytes.Equal(sent, got), "%d bytes sent, %d came back, or others", len(sent), len(got))
}

// The delay is a lower bound that no scheduler can undercut: there and back.
func TestLatencyDelaysEachWay(t *testing.T) {
	proxy := engine.ProxyTo(t, echo(t))
	conn := dialProxy(t, proxy)
	roundTrip(t, conn)
	const latency = 60 * time.Millisecond
	require.NoError(t, proxy.Set(engine.Fault{Latency: latency, Jitter: 10 * time.Millisecond}))
	begun := time.Now()
	roundTrip(t, conn)
	assert.True(t, time.Since(begun) >= 2*latency, "a round trip took %v", time.Since(begun))
}

// Latency does not narrow the line: far more than one chunk, and more than the
// kernel's buffers hold, is under way at a time. Healing lets all of it go.
func TestLatencyKeepsThroughputAndEndsWithTheFault(t *testing.T) {
	proxy := engine.ProxyTo(t, digest(t))
	conn := dialProxy(t, proxy)
	require.NoError(t, proxy.Set(engine.Fault{Latency: time.Hour}))
	require.NoError(t, conn.SetWriteBuffer(64<<10))
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(10*time.Second)))
	sent := randomBytes(768 << 10)
	_, err := conn.Write(sent)
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	checkSilent(t, conn)
	require.NoError(t, proxy.Set(engine.Fault{}))
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got))
}

// Jitter is a delay even without latency: of an hour, a share that ends within
// the silence is drawn once in 24,000 chunks.
func TestJitterDelays(t *testing.T) {
	proxy := engine.ProxyTo(t, echo(t))
	conn := dialProxy(t, proxy)
	require.NoError(t, proxy.Set(engine.Fault{Jitter: time.Hour}))
	_, err := io.WriteString(conn, "one, ")
	require.NoError(t, err)
	_, err = io.WriteString(conn, "two")
	require.NoError(t, err)
	checkSilent(t, conn)
	require.NoError(t, proxy.Set(engine.Fault{}))
	expect(t, conn, "one, two")
}

// 32 KiB at 128 KiB/s take a quarter of a second, and not less.
func TestBandwidthIsAnUpperBound(t *testing.T) {
	proxy := engine.ProxyTo(t, digest(t))
	conn := dialProxy(t, proxy)
	require.NoError(t, proxy.Set(engine.Fault{Bandwidth: 128 << 10}))
	begun := time.Now()
	_, err := conn.Write(randomBytes(32 << 10))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, 32<<10, len(got))
	assert.True(t, time.Since(begun) >= 240*time.Millisecond, "took %v", time.Since(begun))
}

// A stalled direction holds its bytes while the connection lives; the other one
// flows. What was held arrives in the end.
func TestStallHoldsOneDirectionOrBoth(t *testing.T) {
	for stall, reaches := range map[engine.Direction]bool{
		engine.ToTarget: false, engine.BothWays: false, engine.ToClient: true,
	} {
		requests, target := record(t)
		proxy := engine.ProxyTo(t, target)
		conn := dialProxy(t, proxy)
		roundTrip(t, conn)
		<-requests
		require.NoError(t, proxy.Set(engine.Fault{Stall: stall}))
		_, err := conn.Write([]byte("held\n"))
		require.NoError(t, err)
		if reaches {
			assert.Equal(t, "held\n", <-requests)
		}
		checkSilent(t, conn)
		assert.Equal(t, 0, len(requests))
		assert.Equal(t, 1, proxy.Live())
		require.NoError(t, proxy.Set(engine.Fault{}))
		expect(t, conn, "held\n")
	}
}

// A reset is a reset, on the client's side and on the target's, and new
// connections are served.
func TestCutResetsAndHangupCloses(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(*engine.Proxy)
		want error
	}{
		"cut":    {(*engine.Proxy).Cut, syscall.ECONNRESET},
		"hangup": {(*engine.Proxy).Hangup, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			listener := listen(t)
			proxy := engine.ProxyTo(t, listener.Addr().String())
			client := dialProxy(t, proxy)
			target, err := listener.Accept()
			require.NoError(t, err)
			defer target.Close()

			tc.end(proxy)
			assert.Equal(t, 0, proxy.Live())
			for _, side := range []net.Conn{client, target} {
				require.NoError(t, side.SetReadDeadline(time.Now().Add(10*time.Second)))
				_, err = side.Read(make([]byte, 1))
				checkEnd(t, tc.want, err)
			}
			dialProxy(t, proxy)
			next, err := listener.Accept()
			require.NoError(t, err)
			next.Close()
		})
	}
}

// A cut that comes while the proxy is still dialling is a reset too: the target
// may have accepted before the proxy knows that it is connected.
func TestCutWhileDialling(t *testing.T) {
	listener := listen(t)
	proxy := engine.ProxyTo(t, listener.Addr().String())
	for range 300 {
		client := dialProxy(t, proxy)
		target, err := listener.Accept()
		require.NoError(t, err)
		proxy.Cut()
		_, err = target.Read(make([]byte, 1))
		checkEnd(t, syscall.ECONNRESET, err)
		target.Close()
		client.Close()
	}
}

// A reset by the target reaches the client as one.
func TestResetPassesThrough(t *testing.T) {
	listener := listen(t)
	proxy := engine.ProxyTo(t, listener.Addr().String())
	client := dialProxy(t, proxy)
	target, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, target.(*net.TCPConn).SetLinger(0))
	require.NoError(t, target.Close())
	_, err = client.Read(make([]byte, 1))
	checkEnd(t, syscall.ECONNRESET, err)
}

// The client of a half-open connection does not learn that the target has gone,
// whichever way it went, until the fault ends.
func TestHalfOpenKeepsTheEndFromTheOtherSide(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"close": func(c *net.TCPConn) { c.Close() },
		"reset": func(c *net.TCPConn) { _, _ = c.SetLinger(0), c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			listener := listen(t)
			proxy := engine.ProxyTo(t, listener.Addr().String())
			client := dialProxy(t, proxy)
			target, err := listener.Accept()
			require.NoError(t, err)
			require.NoError(t, proxy.Set(engine.Fault{HalfOpen: true}))
			end(target.(*net.TCPConn))
			checkSilent(t, client)
			_, err = client.Write([]byte("into the void"))
			require.NoError(t, err)
			checkSilent(t, client)

			require.NoError(t, proxy.Set(engine.Fault{}))
			require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
			_, err = io.Copy(io.Discard, client)
			assert.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the end did not arrive")
		})
	}
}

// Behind a half-open proxy even an absent target looks alive; without the fault
// the connection is reset.
func TestAbsentTarget(t *testing.T) {
	listener := listen(t)
	require.NoError(t, listener.Close())
	proxy := engine.ProxyTo(t, listener.Addr().String())
	// The reset may come before the client has noticed that it is connected.
	refused, err := net.Dial("tcp4", proxy.Addr())
	if err == nil {
		_, err = refused.Read(make([]byte, 1))
		refused.Close()
	}
	checkEnd(t, syscall.ECONNRESET, err)

	require.NoError(t, proxy.Set(engine.Fault{HalfOpen: true}))
	conn := dialProxy(t, proxy)
	checkSilent(t, conn)
	require.NoError(t, proxy.Set(engine.Fault{}))
	_, err = conn.Read(make([]byte, 1))
	checkEnd(t, syscall.ECONNRESET, err)
}

// A silent proxy accepts, and the target hears nothing until it speaks again.
func TestSilentAcceptsAndDoesNotAnswer(t *testing.T) {
	requests, target := record(t)
	proxy := engine.ProxyTo(t, target)
	old := dialProxy(t, proxy)
	roundTrip(t, old)
	<-requests
	require.NoError(t, proxy.Set(engine.Fault{Silent: true}))
	conn := dialProxy(t, proxy)
	_, err := conn.Write([]byte("hello\n"))
	require.NoError(t, err)
	checkSilent(t, conn)
	assert.Equal(t, 0, len(requests))
	roundTrip(t, old)
	require.NoError(t, proxy.Set(engine.Fault{}))
	expect(t, conn, "hello\n")
}

// A refusing proxy has no listener; its connections live on, its port stays its
// own.
func TestRefuseIsTheKernelsRefusal(t *testing.T) {
	proxy := engine.ProxyTo(t, echo(t))
	old := dialProxy(t, proxy)
	roundTrip(t, old)
	for range 3 {
		require.NoError(t, proxy.Set(engine.Fault{Refuse: true}))
		_, err := net.Dial("tcp4", proxy.Addr())
		checkEnd(t, syscall.ECONNREFUSED, err)
		roundTrip(t, old)
		require.NoError(t, proxy.Set(engine.Fault{}))
		roundTrip(t, dialProxy(t, proxy))
	}
}

// Close ends connections in every state that a fault can hold them in, leaves no
// goroutine, gives the port back, and is final.
func TestProxyCloseWaitsForEverything(t *testing.T) {
	target := echo(t)
	before := runtime.NumGoroutine()
	for _, f := range []engine.Fault{
		{},
		{Latency: time.Hour},
		{Bandwidth: 1},
		{Stall: engine.BothWays},
		{Silent: true},
		{HalfOpen: true},
		{Refuse: true},
	} {
		proxy, err := engine.StartProxy(target)
		require.NoError(t, err)
		old := dialProxy(t, proxy)
		roundTrip(t, old)
		require.NoError(t, proxy.Set(f))
		_, err = old.Write(randomBytes(1 << 10))
		require.NoError(t, err)
		if !f.Refuse {
			_, err = dialProxy(t, proxy).Write([]byte("new"))
			require.NoError(t, err)
		}
		require.NoError(t, proxy.Close())
		assert.Equal(t, 0, proxy.Live())
		require.NoError(t, proxy.Close(), "closing twice")
		assert.ErrorIs(t, proxy.Set(engine.Fault{}), engine.ErrClosed)
		hold, err := net.ListenPacket("udp4", proxy.Addr())
		require.NoError(t, err, "the port is still held")
		hold.Close()
	}
	// The echoing goroutines of the target end on their own time.
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("goroutines left:\n%s", stacks())
		}
	}
}

// An impossible fault is refused by the name of its field, and nothing changes.
func TestFaultsAreChecked(t *testing.T) {
	proxy := engine.ProxyTo(t, echo(t))
	for field, f := range map[string]engine.Fault{
		"Fault.Latency":   {Latency: -1, Refuse: true},
		"Fault.Jitter":    {Jitter: -1, Refuse: true},
		"Fault.Bandwidth": {Bandwidth: -1, Refuse: true},
		"Fault.Stall":     {Stall: 4, Refuse: true},
	} {
		err := proxy.Set(f)
		require.Error(t, err)
		assert.True(t, strings.Contains(err.Error(), field), "%v does not name %s", err, field)
		roundTrip(t, dialProxy(t, proxy))
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}
