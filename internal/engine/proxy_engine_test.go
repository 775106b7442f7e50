//go:build unix

package engine_test

import (
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// The proxy and the servers are made for each other: a session on a real server
// hangs in a stall and goes on after it, outlives a crash unnoticed behind a
// half-open proxy, and serves again on the same address.
func TestProxyBeforeAServer(t *testing.T) {
	server := engine.Redis(t)
	proxy := engine.ProxyTo(t, server.Addr())
	s, err := openRedis(dialProxy(t, proxy))
	require.NoError(t, err)
	require.NoError(t, s.put("key", "before"))

	require.NoError(t, proxy.Set(engine.Fault{Stall: engine.ToClient}))
	result := make(chan error, 1)
	go func() { result <- s.put("key", "written, not acknowledged") }()
	direct := dial(t, server, openRedis)
	for value := ""; value != "written, not acknowledged"; {
		value, err = direct.get("key")
		require.NoError(t, err)
	}
	assert.Equal(t, 0, len(result), "the answer passed the stall")
	require.NoError(t, proxy.Set(engine.Fault{}))
	require.NoError(t, <-result)

	require.NoError(t, proxy.Set(engine.Fault{HalfOpen: true}))
	require.NoError(t, server.Kill())
	go func() { result <- s.put("key", "lost") }()
	select {
	case err := <-result:
		t.Fatalf("the crash was noticed: %v", err)
	case <-time.After(silence):
	}
	require.NoError(t, proxy.Set(engine.Fault{}))
	require.Error(t, <-result)

	require.NoError(t, server.Restart(t.Context()))
	again, err := openRedis(dialProxy(t, proxy))
	require.NoError(t, err)
	got, err := again.get("key")
	require.NoError(t, err)
	assert.Equal(t, "written, not acknowledged", got)
}
