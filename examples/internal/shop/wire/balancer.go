package wire

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// Instance is one running copy of a service.
type Instance struct {
	Name string `json:"name"` // "users", or "products-2" of a service that has several
	URL  string `json:"url"`  // such as http://127.0.0.1:3000
}

// instance is one that a client calls: its breaker, and its own connections, so
// that one that hangs uses up nobody else's.
type instance struct {
	Instance
	caller    string        // our own name
	limit     time.Duration // of one try
	breaker   *breaker.Breaker
	transport *http.Transport
	inflight  atomic.Int64
	answered  atomic.Int64           // when a connection was last taken, in Unix ns
	held      atomic.Pointer[func()] // releases the breaker; nil unless control holds it open
}

// balancer chooses among the instances of a callee: the less loaded of two random
// ones. Always the least loaded would send everybody to the same one at the same
// moment (Mitzenmacher, "The power of two choices", 2001).
type balancer struct {
	all     atomic.Pointer[[]*instance]
	connect func(Instance) *instance
}

func (b *balancer) instances() []*instance {
	if p := b.all.Load(); p != nil {
		return *p
	}
	return nil
}

// set replaces the list. Who stays keeps breaker and connections. The one caller at
// a time is the watch of the registry.
func (b *balancer) set(list []Instance) {
	old := b.instances()
	next := make([]*instance, 0, len(list))
	for _, want := range list {
		i := slices.IndexFunc(old, func(have *instance) bool { return have.Instance == want })
		if i >= 0 {
			next = append(next, old[i])
		} else {
			next = append(next, b.connect(want))
		}
	}
	b.all.Store(&next)
	for _, have := range old {
		if !slices.Contains(next, have) {
			have.transport.CloseIdleConnections()
		}
	}
}

// pick returns the instance for the next try, not that of the last one if there is
// another. Whose breaker is open is left out as long as somebody else is there; if
// nobody is, the breaker of one says no, and when to come back.
func (b *balancer) pick(last *instance) *instance {
	all := b.instances()
	if len(all) == 1 { // the most frequent case takes no copy
		return all[0]
	}
	fit := make([]*instance, 0, len(all))
	for _, i := range all {
		if i != last && i.breaker.State() != breaker.Open {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		fit = all
	}
	switch len(fit) {
	case 0:
		return nil
	case 1:
		return fit[0]
	}
	x := rand.IntN(len(fit))
	y := rand.IntN(len(fit) - 1)
	if y >= x {
		y++
	}
	if fit[y].inflight.Load() < fit[x].inflight.Load() {
		return fit[y]
	}
	return fit[x]
}
