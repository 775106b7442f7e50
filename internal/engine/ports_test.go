package engine

import (
	"net"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A reserved port is free for a server and for nobody else who reserves, until
// it is released; one that somebody listens on is not given out.
func TestReservedPortIsHeld(t *testing.T) {
	p, err := reservePort()
	require.NoError(t, err)
	_, err = holdPort(p.number)
	assert.Error(t, err, "the number was held twice")
	listener, err := net.Listen("tcp4", p.addr())
	require.NoError(t, err, "a server cannot listen")
	require.NoError(t, p.release())
	_, err = holdPort(p.number)
	assert.Error(t, err, "a port in use was given out")
	require.NoError(t, listener.Close())
	again, err := holdPort(p.number)
	require.NoError(t, err, "a refused hold must not stay")
	require.NoError(t, again.release())
}
