package wire

import "time"

// Patience is how long the next of many polls lets the callee wait. Each poll costs as
// much as any request, so where nothing has come for a while, and the node is at rest as
// well, a poll may wait for longer than the time limit of a try; but then an outage of the
// callee shows as late. One goroutine polls, and begins anew after a failure.
type Patience struct {
	node        *Node
	least, most time.Duration
	calm        time.Time // since when nothing has come
	work        uint64    // of the node at that time
}

// calmAfter is how long nothing must have come.
const calmAfter = 10 * time.Second

// Patience returns that of a poll that waits for least, which fits into the time limit of
// a try, while there is work, and for most at rest.
func (n *Node) Patience(least, most time.Duration) *Patience {
	return &Patience{node: n, least: least, most: max(least, most), calm: time.Now()}
}

// Wait is for the next poll: how long it may wait in all, and how much of that is
// Request.Wait. came tells whether the last one has brought something.
func (p *Patience) Wait(came bool) (whole, beyond time.Duration) {
	if work := p.node.requests.Load(); came || work != p.work {
		p.calm, p.work = time.Now(), work
	}
	if time.Since(p.calm) < calmAfter {
		return p.least, 0
	}
	return p.most, p.most - p.least
}
