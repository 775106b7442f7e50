package fault

import (
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Set holds the rules of one service. Safe for concurrent use.
type Set struct {
	seed   uint64
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	version uint64    // of the orders that were obeyed last
	rules   []*active // replaced, never changed
}

// Orders are all rules for one service as of one moment. Every change has a
// higher version, so that of two that overtake each other on the way the later
// one stays: otherwise a fault could outlive its own end.
type Orders struct {
	Version uint64 `json:"version"`
	Rules   []Rule `json:"rules"`
}

// Obey puts the rules in force, unless newer ones are.
func (s *Set) Obey(o Orders) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Version < s.version {
		return
	}
	s.version = o.Version
	s.replace(o.Rules)
}

// active is a rule in force. The count belongs to the rule, so other rules and
// their order do not change which request it hits.
type active struct {
	Rule
	seed uint64        // of this rule's draws
	seen atomic.Uint64 // requests that met the rule
}

// NewSet returns a set without rules.
func NewSet(seed uint64) *Set {
	return &Set{seed: seed, closed: make(chan struct{})}
}

// Replace puts rules in force. A rule that stays keeps its count, so that its
// draws go on where they were: otherwise every change of some other rule would
// start them anew, and a fault of one percent would hit the same first request.
func (s *Set) Replace(rules []Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(rules)
}

// replace is Replace with mu held.
func (s *Set) replace(rules []Rule) {
	known := make(map[string]*active, len(s.rules))
	for _, a := range s.rules {
		known[a.ID] = a
	}
	next := make([]*active, 0, len(rules))
	for _, r := range rules {
		if a := known[r.ID]; a != nil && a.Rule == r {
			next = append(next, a)
			continue
		}
		h := fnv.New64a()
		_, _ = io.WriteString(h, r.ID) // a hash takes every write
		next = append(next, &active{Rule: r, seed: mix(s.seed ^ h.Sum64())})
	}
	s.rules = next
}

// Close lets go of the requests that a black hole holds; rules end.
func (s *Set) Close() {
	s.once.Do(func() { close(s.closed) })
	s.Replace(nil)
}

// Injected is an error answer that a rule asks for.
type Injected struct {
	Rule   string
	Status int
}

// ErrCut asks for the connection to be cut without an answer.
var ErrCut = errors.New("fault: cut the connection")

// Apply lets the rules act on r. It returns an answer to give, or ErrCut, or
// neither when the request is to go on. In a black hole it returns when the
// client has gone or the set is closed.
func (s *Set) Apply(w http.ResponseWriter, r *http.Request) (*Injected, error) {
	// The lock is for the slice alone. What a rule does takes seconds, and Replace
	// must be able to end it.
	s.mu.Lock()
	rules := s.rules
	s.mu.Unlock()
	for _, a := range rules {
		if !strings.HasPrefix(r.URL.Path, a.Path) {
			continue
		}
		// Two draws for each request, one for whether and one for how long: with one
		// for both, those who are hit would be those who wait the least.
		n := a.seen.Add(1)
		if unit(a.seed, 2*n) >= a.Share {
			continue
		}
		switch a.Kind {
		case Latency:
			wait := a.Latency + time.Duration(unit(a.seed, 2*n+1)*float64(a.Jitter))
			if err := s.sleep(r, wait); err != nil {
				return nil, err
			}
		case Error:
			return &Injected{Rule: a.ID, Status: a.Status}, nil
		case Blackhole:
			return nil, s.hold(w, r)
		}
	}
	return nil, nil
}

// sleep waits for d, or less when the client leaves or the service ends.
func (s *Set) sleep(r *http.Request, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.closed:
		return nil // the service drains: what waits may still be answered
	case <-r.Context().Done():
		return ErrCut
	}
}

// hold keeps the request until its client gives up. The body is read first: a
// server sees that a client has gone only once nothing of the request is left
// unread, and would otherwise hold a POST for ever.
func (s *Set) hold(w http.ResponseWriter, r *http.Request) error {
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 64<<10))
	select {
	case <-s.closed:
	case <-r.Context().Done():
	}
	return ErrCut
}

// unit is the n-th draw of a seed, uniform in [0, 1).
func unit(seed, n uint64) float64 {
	return float64(mix(seed+n*0x9e3779b97f4a7c15)>>11) / (1 << 53)
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
