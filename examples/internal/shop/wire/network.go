package wire

import (
	"context"
	"fmt"
	"net"
)

// Network is how the shop listens and dials. TCP is loopback; a *Pipe keeps
// everything in memory, so that a whole shop runs in fake time.
type Network interface {
	Listen(addr string) (net.Listener, error)
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// TCP is the loopback network of this machine. It refuses to listen on anything
// else: the shop is a demo with faults on request, nothing to offer to a LAN.
type TCP struct{}

// Listen listens on addr, whose host must be a loopback IP literal.
func (TCP) Listen(addr string) (net.Listener, error) {
	if err := CheckLoopback(addr); err != nil {
		return nil, err
	}
	return net.Listen("tcp", addr)
}

// DialContext dials addr.
func (TCP) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// CheckLoopback returns an error unless addr is host:port with a loopback IP
// literal as host. Names are refused, also localhost: what they resolve to is
// decided by others.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: want host:port, such as 127.0.0.1:8080", addr)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("address %q: want a loopback IP, 127.0.0.1 or ::1", addr)
	}
	return nil
}

// ListenPreferred listens on the loopback port that is asked for and, when that
// is taken, on any free one: a port that something else occupies must not fail
// somebody's first run.
func ListenPreferred(n Network, port int) (net.Listener, error) {
	ln, err := n.Listen(fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil || port == 0 {
		return ln, err
	}
	return n.Listen("127.0.0.1:0")
}
