package registry

import (
	"context"
	"net"
	"sync"
)

// Whoever is well and at rest is asked more and more rarely, so that a shop in which
// nothing happens costs next to nothing. A service at work registers once in each of its
// intervals, and is asked as often; that one at rest dies is seen within its interval as
// well, by the end of the connection that is kept to it.

// dial is the function of a transport.
type dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// watchful makes connections whose end makes the instance behind them be asked.
func (s *Service) watchful(next dial) dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &watched{Conn: c, ended: func() { s.lost(addr) }}, nil
	}
}

// watched tells when reading from it has failed, which a transport tries all the time.
type watched struct {
	net.Conn
	ended func()
	once  sync.Once
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.once.Do(w.ended)
	}
	return n, err
}

// lost has the instance at an address asked, but not before its interval is over: a
// connection also ends because a question has taken too long.
func (s *Service) lost(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.host() == addr {
			s.soon(e)
		}
	}
}

// soon has an instance asked when its interval is over. The caller holds mu.
func (s *Service) soon(e *entry) {
	e.pause = e.every
	if next := e.asked.Add(e.every); next.Before(e.next) {
		e.next = next
		s.hurry()
	}
}

// hurry makes check look who is due. The caller holds mu.
func (s *Service) hurry() {
	select {
	case s.joined <- struct{}{}:
	default:
	}
}
