package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

const (
	most   = 100
	within = time.Minute
)

// meter is a gate that lets a client make 100 requests in any 60 seconds: it remembers
// when the last hundred came. A token bucket would let request 101 through after one
// refill, and a window that begins on the minute 200 around its edge. Those refused do
// not count, so waiting helps.
type meter struct {
	mu   sync.Mutex
	last [most]time.Time // a ring
	next int             // the oldest of them
}

// Allow implements breaker.Gate.
func (m *meter) Allow(ctx context.Context) (breaker.Permit, error) {
	if ctx.Err() != nil {
		return breaker.Permit{}, context.Cause(ctx)
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if oldest := m.last[m.next]; !oldest.IsZero() && now.Sub(oldest) < within {
		return breaker.Permit{}, &breaker.RejectedError{Gate: m, Name: "meter", Reason: "rate"}
	}
	m.last[m.next] = now
	m.next = (m.next + 1) % most
	return breaker.Permit{}, nil
}

// RetryAfter is the time until the oldest request is a minute old.
func (m *meter) RetryAfter() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(within-time.Since(m.last[m.next]), 0)
}

// Idle says that nothing is lost if the meter is forgotten.
func (m *meter) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := m.last[(m.next+most-1)%most]
	return newest.IsZero() || time.Since(newest) >= within
}

// meters has one for each client: who has signed in by his name, others by address.
type meters struct {
	group *breaker.Group[string, *meter]
}

func newMeters() meters {
	return meters{&breaker.Group[string, *meter]{New: func(string) *meter { return &meter{} }}}
}

// of is the client's meter; nil for the load of the demo, which is not metered.
func (m meters) of(r *http.Request, c caller) breaker.Gate {
	switch {
	case c.plan == "unmetered":
		return nil
	case c.user != "":
		return m.group.Get("user " + c.user)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return m.group.Get("address " + host)
}

func tooMany(err error) error {
	p := wire.NewProblem(http.StatusTooManyRequests, "too-many", "at most 100 requests in 60 seconds")
	p.RetryAfter = time.Second
	if e, ok := err.(interface{ RetryAfter() time.Duration }); ok { //nolint:errorlint // it is the gate's own
		p.RetryAfter = max(p.RetryAfter, e.RetryAfter())
	}
	return p
}
