package fault

import (
	"hash/fnv"
	"io"
	"sync"
	"sync/atomic"
)

// Set holds the rules of one service. Safe for concurrent use.
type Set struct {
	// Kill ends this process at once, for crashes; nil ignores them. It is set
	// before the first request.
	Kill func()

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

// active is a rule in force. The counts belong to the rule, so other rules and
// their order do not change which request it hits.
type active struct {
	Rule
	seed    uint64        // of this rule's draws
	seen    atomic.Uint64 // requests that met the rule
	checked atomic.Uint64 // health checks that met it
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

// matching are the rules about requests of caller to path, in order.
func (s *Set) matching(caller, path string) (out []*active) {
	// The lock is for the slice alone. What a rule does takes seconds, and Replace
	// must be able to end it.
	s.mu.Lock()
	rules := s.rules
	s.mu.Unlock()
	for _, a := range rules {
		if a.matches(caller, path) {
			out = append(out, a)
		}
	}
	return out
}

// hit counts a request and says whether it is hit, with a second draw in [0, 1)
// for how hard: with one draw for both, those who are hit would be those who wait
// the least.
//
// Health checks come by the clock, so they have a count and draws of their own:
// otherwise which of the other requests are hit would depend on how many checks
// came between them.
func (a *active) hit(health bool) (bool, float64) {
	if health {
		n := a.checked.Add(1)
		return unit(^a.seed, 2*n) < a.Share && a.First == 0, unit(^a.seed, 2*n+1)
	}
	n := a.seen.Add(1)
	return a.within(n) && unit(a.seed, 2*n) < a.Share, unit(a.seed, 2*n+1)
}

// Deliver says what becomes of the next message of a topic: how often it is
// delivered, and how many later ones are to overtake it.
func (s *Set) Deliver(topic string) (copies, behind int) {
	copies = 1
	for _, a := range s.matching("", "/"+topic) {
		switch hit, draw := a.hit(false); {
		case hit && a.Kind == Duplicate:
			copies = max(copies, a.N)
		case hit && a.Kind == Reorder:
			behind = max(behind, int(draw*float64(a.N+1)))
		}
	}
	return copies, behind
}

// Crash ends the process if a rule wants that at this point of something that is no
// request: a message, with the path /TOPIC/TYPE, or the step of a saga. A rule counts the
// moments of its own point alone.
func (s *Set) Crash(path, point string) {
	for _, a := range s.matching("", path) {
		if a.Kind != Crash || a.Point != point {
			continue
		}
		if hit, _ := a.hit(false); hit {
			s.die(true)
		}
	}
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
