package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy passes TCP connections on to a target and breaks them on demand: [Fault]
// says how. Without a fault it passes every byte, half-close and reset as it
// comes. Its methods may be called from several goroutines.
type Proxy struct {
	target string
	port   port
	ctx    context.Context // ends with Close; connections derive theirs from it
	cancel context.CancelFunc
	work   sync.WaitGroup // accepting, and one per connection

	mu       sync.Mutex
	listener *net.TCPListener // nil while refusing
	regime   *regime
	links    map[*link]struct{}
	closed   bool
}

// StartProxy starts a proxy on a free port of 127.0.0.1. The target, as
// host:port, is dialled anew for each connection; it need not be there yet.
func StartProxy(target string) (*Proxy, error) {
	port, err := reservePort()
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, port: port, links: make(map[*link]struct{})}
	p.regime = &regime{changed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.listen(); err != nil {
		p.cancel()
		return nil, errors.Join(err, port.release())
	}
	return p, nil
}

// Addr is the address that clients dial instead of the target's. It stays the
// same.
func (p *Proxy) Addr() string { return p.port.addr() }

// Set puts a fault in force, in place of the one before, for the connections
// that exist as for new ones. The zero Fault heals: what was held goes on. An
// error leaves everything as it was.
func (p *Proxy) Set(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case f.Refuse && p.listener != nil:
		if err := p.listener.Close(); err != nil {
			return fmt.Errorf("engine: proxy: %w", err)
		}
		p.listener = nil
	case !f.Refuse && p.listener == nil:
		if err := p.listen(); err != nil {
			return err
		}
	}
	close(p.regime.changed)
	p.regime = &regime{Fault: f, changed: make(chan struct{})}
	return nil
}

// Cut resets every connection, on both sides, as a firewall that forgets or a
// machine that loses power and comes back. What was under way is lost. New
// connections are served as before. Returns when the connections are gone.
func (p *Proxy) Cut() { p.endAll((*link).reset) }

// Hangup closes every connection, on both sides, as a process that exits. What
// was under way is lost. Returns when the connections are gone.
func (p *Proxy) Hangup() { p.endAll((*link).close) }

// Live is the number of connections, the ones that a fault keeps from the target
// included.
func (p *Proxy) Live() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close ends the proxy and its connections, and waits for its goroutines.
// Closing again does nothing.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	var err error
	if p.listener != nil {
		err = p.listener.Close()
	}
	p.mu.Unlock()

	p.cancel()
	p.Hangup()
	p.work.Wait()
	return errors.Join(err, p.port.release())
}

func (p *Proxy) endAll(end func(*link)) {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		end(l)
	}
	for _, l := range links {
		<-l.over
	}
}

// listen opens the listener; the caller holds the lock or is the only one.
func (p *Proxy) listen() error {
	listener, err := net.Listen("tcp4", p.port.addr())
	if err != nil {
		return fmt.Errorf("engine: proxy: %w", err)
	}
	p.listener = listener.(*net.TCPListener)
	p.work.Go(func() { p.accept(listener.(*net.TCPListener)) })
	return nil
}

// accept serves one listener until that is closed. Any other error, such as too
// many open files, passes.
func (p *Proxy) accept(listener *net.TCPListener) {
	for {
		client, err := listener.AcceptTCP()
		switch {
		case err == nil:
			p.serve(client)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			select {
			case <-time.After(10 * time.Millisecond):
			case <-p.ctx.Done():
			}
		}
	}
}

// serve gives a connection its goroutine.
func (p *Proxy) serve(client *net.TCPConn) {
	l := newLink(p, client)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.close()
		return
	}
	p.links[l] = struct{}{}
	p.work.Go(func() {
		l.run()
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
		close(l.over)
	})
}

func (p *Proxy) current() *regime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.regime
}
