package wire

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Pipe is a Network in memory. Its connections are net.Pipe pairs, which block
// on channels alone: in a testing/synctest bubble a goroutine that waits for one
// is durably blocked, so fake time moves on. The zero value is ready to use.
type Pipe struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	lastPort  int
}

// Listen opens addr; port 0 picks a free one. An address that is in use is
// refused with syscall.EADDRINUSE, as TCP does.
func (p *Pipe) Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners == nil {
		p.listeners = make(map[string]*pipeListener)
		p.lastPort = 40000
	}
	if port == "0" { // never twice, also after a close: a late dial must not find somebody else
		p.lastPort++
		addr = net.JoinHostPort(host, strconv.Itoa(p.lastPort))
	}
	if p.listeners[addr] != nil {
		return nil, pipeError("listen", addr, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &pipeListener{network: p, addr: pipeAddr(addr), conns: make(chan net.Conn), closed: make(chan struct{})}
	p.listeners[addr] = l
	return l, nil
}

// DialContext connects to a listener of this network. Without one the
// connection is refused at once.
func (p *Pipe) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	p.mu.Lock()
	l := p.listeners[addr]
	p.mu.Unlock() // before the wait below: a listener that closes needs it
	if l == nil {
		return nil, pipeError("dial", addr, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	// Made before anybody takes it: if nobody does, both ends are garbage, and no
	// goroutine waits on either.
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, pipeError("dial", addr, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case <-ctx.Done():
		return nil, pipeError("dial", addr, ctx.Err())
	}
}

// pipeListener hands connections over by a channel without a buffer: a dial
// returns when Accept has taken the other end, so nothing is left between the
// two when either side closes.
type pipeListener struct {
	network *Pipe
	addr    pipeAddr
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, pipeError("accept", string(l.addr), net.ErrClosed)
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, string(l.addr))
		l.network.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.addr }

// pipeAddr looks like host:port, so that URLs are built from it as from any other.
type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// pipeError has the shape of a TCP error, since callers tell "nothing was sent"
// by a *net.OpError whose Op is "dial".
func pipeError(op, addr string, err error) error {
	return &net.OpError{Op: op, Net: "pipe", Addr: pipeAddr(addr), Err: err}
}
