//go:build unix

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// session is a client of one kind of server. What put has acknowledged has to
// survive a crash.
type session interface {
	net.Conn
	put(key, value string) error
	get(key string) (string, error)
}

// The three engines, and how to talk to each.
var engines = map[string]struct {
	start func(engine.TB) *engine.Server
	raw   func(context.Context, string) (*engine.Server, error)
	open  func(net.Conn) (session, error)
}{
	"redis":    {engine.Redis, engine.StartRedis, openRedis},
	"postgres": {engine.Postgres, engine.StartPostgres, openPostgres},
	"rabbitmq": {engine.RabbitMQ, engine.StartRabbitMQ, openRabbitMQ},
}

// Two servers of each kind run at once. Every step finds both of them up and
// leaves them so.
func TestEngines(t *testing.T) {
	for name, e := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, other := e.start(t), e.start(t)
			connect := func(t *testing.T, s *engine.Server) session { return dial(t, s, e.open) }

			t.Run("url", func(t *testing.T) {
				u, err := url.Parse(server.URL())
				require.NoError(t, err)
				assert.Equal(t, server.Addr(), u.Host)
			})
			t.Run("servers are apart", func(t *testing.T) {
				assert.NotEqual(t, server.Addr(), other.Addr())
				assert.NotEqual(t, server.Dir(), other.Dir())
				checkApart(t, connect(t, server), connect(t, other))
			})
			t.Run("pause", func(t *testing.T) { checkPause(t, server, connect) })
			t.Run("stop and restart", func(t *testing.T) { checkStop(t, server, connect) })
			t.Run("kill while writing", func(t *testing.T) { checkKill(t, server, other, connect) })
			t.Run("kill while paused", func(t *testing.T) { checkKillPaused(t, server, connect) })
		})
	}
}

// dial opens a session whose every operation fails after a while, so that a
// server that hangs fails the test and not its time limit.
func dial(t *testing.T, s *engine.Server, open func(net.Conn) (session, error)) session {
	t.Helper()
	conn, err := net.Dial("tcp4", s.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	opened, err := open(conn)
	require.NoError(t, err)
	return opened
}

type connector func(*testing.T, *engine.Server) session

func checkApart(t *testing.T, one, two session) {
	require.NoError(t, one.put("apart", "one"))
	require.NoError(t, two.put("apart", "two"))
	for want, s := range map[string]session{"one": one, "two": two} {
		got, err := s.get("apart")
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// A call hangs while the server is paused, and ends well after it goes on.
func checkPause(t *testing.T, server *engine.Server, connect connector) {
	s := connect(t, server)
	family := familyOf(t, server)
	require.NoError(t, server.Pause())
	require.NoError(t, server.Pause(), "pausing twice")

	result := make(chan error, 1)
	go func() { result <- s.put("paused", "kept") }()
	select {
	case err := <-result:
		require.NoError(t, server.Resume(), "for the steps after this one")
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	guards := 0
	for _, p := range statesOf(t, family) {
		if p.State() != 'T' {
			guards++
		}
	}
	assert.Equal(t, 1, guards, "only the guard goes on")

	require.NoError(t, server.Resume())
	require.NoError(t, <-result)
	got, err := s.get("paused")
	require.NoError(t, err)
	assert.Equal(t, "kept", got)
	assert.NoError(t, server.Resume(), "resuming one that runs")
}

// A graceful end leaves no process; then the same address serves the same data.
func checkStop(t *testing.T, server *engine.Server, connect connector) {
	require.NoError(t, connect(t, server).put("stopped", "kept"))
	addr, family := server.Addr(), familyOf(t, server)
	require.NoError(t, server.Pause(), "a paused server can be stopped too")
	require.NoError(t, server.Stop(t.Context()))
	assert.Equal(t, 0, len(statesOf(t, family)), "processes left by Stop")
	checkRefused(t, addr)
	assert.NoError(t, server.Stop(t.Context()), "stopping twice")
	assert.ErrorIs(t, server.Pause(), engine.ErrNotRunning)
	assert.ErrorIs(t, server.Resume(), engine.ErrNotRunning)

	require.NoError(t, server.Restart(t.Context()))
	assert.Equal(t, addr, server.Addr())
	got, err := connect(t, server).get("stopped")
	require.NoError(t, err)
	assert.Equal(t, "kept", got)
}

// Whatever was acknowledged before SIGKILL is there after it, and the neighbour
// does not notice.
func checkKill(t *testing.T, server, other *engine.Server, connect connector) {
	writer, neighbour, family := connect(t, server), connect(t, other), familyOf(t, server)
	key := func(i int) string { return fmt.Sprintf("crash-%d", i) }
	begun, acknowledged := make(chan struct{}), 0
	var writing sync.WaitGroup
	writing.Go(func() {
		for writer.put(key(acknowledged), "kept") == nil {
			if acknowledged++; acknowledged == 20 {
				close(begun)
			}
		}
	})
	select {
	case <-begun:
	case <-time.After(time.Minute):
		t.Fatal("twenty writes take longer than a minute")
	}
	require.NoError(t, server.Kill())
	writing.Wait()
	assert.Equal(t, 0, len(statesOf(t, family)), "processes left by Kill")
	checkRefused(t, server.Addr())
	require.NoError(t, server.Kill(), "killing twice")
	require.NoError(t, neighbour.put("neighbour", "lives"))

	require.NoError(t, server.Restart(t.Context()))
	reader := connect(t, server)
	for i := range acknowledged {
		got, err := reader.get(key(i))
		require.NoError(t, err, "write %d of %d", i, acknowledged)
		require.Equal(t, "kept", got)
	}
}

// SIGKILL reaches stopped processes, those that have left the group too.
func checkKillPaused(t *testing.T, server *engine.Server, connect connector) {
	connect(t, server)
	family := familyOf(t, server)
	require.NoError(t, server.Pause())
	require.NoError(t, server.Kill())
	assert.Equal(t, 0, len(statesOf(t, family)), "processes left by Kill")
	require.NoError(t, server.Restart(t.Context()))
}

// Close leaves no process, no directory, no listener and no held port, also
// while a client is connected, and ends the server's life. The listeners tell of
// a daemon that has left the family, as epmd likes to.
func TestCloseLeavesNothing(t *testing.T) {
	for name, e := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := e.start(t)
			dial(t, server, e.open)
			family := familyOf(t, server)
			require.NoError(t, server.Close())
			assert.Equal(t, 0, len(statesOf(t, family)))
			_, err := os.Stat(server.Dir())
			assert.ErrorIs(t, err, os.ErrNotExist)
			for _, addr := range engine.Addrs(server) {
				checkRefused(t, addr)
				hold, err := net.ListenPacket("udp4", addr)
				if assert.NoError(t, err, "the port is still held") {
					hold.Close()
				}
			}
			assert.NoError(t, server.Close(), "closing twice")
			assert.ErrorIs(t, server.Restart(t.Context()), engine.ErrClosed)
		})
	}
}

// A server that has died by itself is down, can be restarted, and its guard goes.
func TestRestartAfterACrash(t *testing.T) {
	server := engine.Postgres(t)
	dial(t, server, openPostgres)
	family := familyOf(t, server)
	postgres, guard := family[:len(family)-1], family[len(family)-1:]
	postmaster, err := os.FindProcess(postgres[0].Pid())
	require.NoError(t, err)
	require.NoError(t, postmaster.Kill())
	require.NoError(t, engine.AwaitGone(postgres), "its backends end by themselves")
	require.NoError(t, server.Restart(t.Context()))
	dial(t, server, openPostgres)
	assert.NoError(t, engine.AwaitGone(guard))
}

// Operations from several goroutines take turns, whatever the order; in the end
// the server is whole.
func TestOperationsTakeTurns(t *testing.T) {
	server := engine.Redis(t)
	var working sync.WaitGroup
	for _, operation := range []func() error{
		server.Kill,
		func() error { return server.Restart(t.Context()) },
		func() error { return server.Stop(t.Context()) },
		func() error { return ignoreDown(server.Pause()) },
		func() error { return ignoreDown(server.Resume()) },
	} {
		working.Go(func() {
			for range 10 {
				assert.NoError(t, operation())
			}
		})
	}
	working.Wait()
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, dial(t, server, openRedis).put("key", "value"))
}

func ignoreDown(err error) error {
	if errors.Is(err, engine.ErrNotRunning) {
		return nil
	}
	return err
}

// A context that ends before the server does is reported, and the server can
// still be stopped.
func TestStopThatIsGivenUp(t *testing.T) {
	server := engine.Postgres(t)
	postmaster, err := os.FindProcess(familyOf(t, server)[0].Pid())
	require.NoError(t, err)
	require.NoError(t, postmaster.Signal(syscall.SIGSTOP)) // so that it cannot end in time
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, server.Stop(ctx), context.Canceled)
	require.NoError(t, postmaster.Signal(syscall.SIGCONT))
	require.NoError(t, server.Stop(t.Context()))
	checkRefused(t, server.Addr())
}

// Data in a directory of the caller outlives Close, and is found on a new port.
func TestDirectoryOfTheCaller(t *testing.T) {
	for name, e := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := t.TempDir()
			require.NoError(t, os.Chmod(filepath.Dir(above), 0o711)) // for the account of the server
			dir := filepath.Join(above, "not", "there yet")
			server := startOrSkip(t, e.raw, dir)
			require.NoError(t, dial(t, server, e.open).put("moved", "kept"))
			require.NoError(t, server.Stop(t.Context()))
			require.NoError(t, server.Close())

			again := startOrSkip(t, e.raw, dir)
			got, err := dial(t, again, e.open).get("moved")
			require.NoError(t, err)
			assert.Equal(t, "kept", got)
		})
	}
}

func checkRefused(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp4", addr)
	if !assert.Error(t, err, "a server that is down was reached") {
		conn.Close()
	}
}

// familyOf lists the processes of a server that runs.
func familyOf(t *testing.T, s *engine.Server) []engine.Process {
	t.Helper()
	family, err := engine.Family(s)
	require.NoError(t, err)
	require.True(t, len(family) >= 2, "a server and its guard at least, got %v", family)
	return family
}
