package wire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
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

// Listen listens on addr, whose host must be a loopback IP literal. Port 0 is one that
// the system does not hand out by itself, if such a one is found: a service that is
// started again wants its old port, and with one out of the range for outgoing
// connections it would find it, now and then, at the end of somebody else's.
func (TCP) Listen(addr string) (net.Listener, error) {
	if err := CheckLoopback(addr); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(addr) // checked
	for try := 0; port == "0" && try < 20; try++ {
		const first, behind = 20_000, 32_768 // Linux hands out from 32768 on, others from 49152
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(first+rand.IntN(behind-first))))
		if err == nil {
			return ln, nil
		}
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
