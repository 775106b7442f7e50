package engine_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// listen opens a listener that the test accepts from.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	return listener
}

// serve runs a target that handles each connection, and ends it with the test.
func serve(t *testing.T, handle func(*net.TCPConn)) (addr string) {
	t.Helper()
	listener := listen(t)
	var work sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		work.Wait()
	})
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			})
		}
	})
	return listener.Addr().String()
}

// echo is a target that answers each byte with itself.
func echo(t *testing.T) (addr string) {
	return serve(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
}

// digest is a target that reads to the end of the stream and then answers with
// all of it: only a half-close makes it speak.
func digest(t *testing.T) (addr string) {
	return serve(t, func(c *net.TCPConn) {
		all, err := io.ReadAll(c)
		if err == nil {
			_, _ = io.Copy(c, bytes.NewReader(all))
		}
	})
}

// record is an echo that tells which lines have reached it.
func record(t *testing.T) (lines chan string, addr string) {
	lines = make(chan string, 10)
	return lines, serve(t, func(c *net.TCPConn) {
		for r := bufio.NewReader(c); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			lines <- line
			if _, err := io.WriteString(c, line); err != nil {
				return
			}
		}
	})
}

// dialProxy connects through the proxy. Every read and write fails after a
// minute: a test that hangs says where.
func dialProxy(t *testing.T, p *engine.Proxy) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp4", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn.(*net.TCPConn)
}

func roundTrip(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.WriteString(conn, "ping\n")
	require.NoError(t, err)
	expect(t, conn, "ping\n")
}

// expect reads exactly the text.
func expect(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// checkSilent fails if anything arrives, the end of the stream included.
func checkSilent(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(silence)))
	n, err := conn.Read(make([]byte, 1))
	assert.Equal(t, 0, n)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
}

// checkEnd compares how a connection ended. Windows has numbers of its own for
// resets and refusals, which its errors do not match against these.
func checkEnd(t *testing.T, want, got error) {
	t.Helper()
	if runtime.GOOS == "windows" && !errors.Is(want, io.EOF) {
		assert.Error(t, got)
		return
	}
	assert.ErrorIs(t, got, want)
}

func stacks() []byte {
	all := make([]byte, 1<<20)
	return all[:runtime.Stack(all, true)]
}
