package orders

import "sync"

// bells wake those who wait for news of an order: POST /orders?wait=, of which
// there is one at most per order and client.
type bells struct {
	mu  sync.Mutex
	all map[string][]chan struct{}
}

// listen returns a channel that is closed at the next ring for id, and what ends
// the wait for it.
func (b *bells) listen(id string) (rung <-chan struct{}, leave func()) {
	c := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[string][]chan struct{}{}
	}
	b.all[id] = append(b.all[id], c)
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		left := b.all[id][:0]
		for _, other := range b.all[id] {
			if other != c {
				left = append(left, other)
			}
		}
		if b.all[id] = left; len(left) == 0 {
			delete(b.all, id)
		}
	}
}

// ring wakes all who listen for id now. Nobody is there, mostly.
func (b *bells) ring(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.all[id] {
		close(c)
	}
	delete(b.all, id)
}
