package registry

import (
	"context"
	"net"
	"sync"
)

// Whoever is well is asked more and more rarely, so that a shop at rest costs next to
// nothing. That one dies is seen all the same within its interval, by the end of the
// connection that is kept to it; that one hangs is what its callers see first, by their
// breakers.

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
		if soon := e.asked.Add(e.every); e.host() == addr && soon.Before(e.next) {
			e.pause, e.next = e.every, soon
			s.hurry()
		}
	}
}

// hurry makes check look who is due. The caller holds mu.
func (s *Service) hurry() {
	select {
	case s.joined <- struct{}{}:
	default:
	}
}
