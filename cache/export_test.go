package cache

// SetDraw replaces the random numbers of jitter and XFetch.
func SetDraw[K comparable, V any](c *Cache[K, V], draw func() float64) { c.draw = draw }

// Running is the number of flights that stand in a slot.
func Running[K comparable, V any](c *Cache[K, V]) (n int) {
	for i := range c.table.shards {
		s := &c.table.shards[i]
		s.mu.Lock()
		n += len(s.flights) + len(s.sets)
		s.mu.Unlock()
	}
	return n
}

// Limits that tests reach.
const (
	MaxPending = maxPending
	MaxStamps  = maxStamps
)

// Indexed is how many keys the index of names holds.
func Indexed[K comparable, V any](c *Cache[K, V]) int { return c.names.index.keys }
