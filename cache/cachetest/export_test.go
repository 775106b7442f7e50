package cachetest

// Records is the number of records in memory.
func (c *Cluster) Records() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.server.records)
}
