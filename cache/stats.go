package cache

import "sync/atomic"

// Stats are totals since New; the last two lines are the present.
type Stats struct {
	LocalHits      int64 `json:"local_hits"` // only with Config.CountHits
	LocalMisses    int64 `json:"local_misses"`
	RemoteHits     int64 `json:"remote_hits"`
	RemoteMisses   int64 `json:"remote_misses"`
	NotFoundHits   int64 `json:"not_found_hits"`
	StaleServed    int64 `json:"stale_served"`
	Loads          int64 `json:"loads"`
	LoadErrors     int64 `json:"load_errors"`
	Coalesced      int64 `json:"coalesced"` // callers that joined somebody else's load
	Refreshes      int64 `json:"refreshes"` // in the background
	EarlyRefreshes int64 `json:"early_refreshes"`
	LeaseWaits     int64 `json:"lease_waits"` // polls for a lease that somebody else holds
	FillsRejected  int64 `json:"fills_rejected"`
	Undecodable    int64 `json:"undecodable"`
	Evictions      int64 `json:"evictions"`
	Expirations    int64 `json:"expirations"`
	Invalidations  int64 `json:"invalidations"` // keys, tags and Clears of this node
	BusMessages    int64 `json:"bus_messages"`
	BusGaps        int64 `json:"bus_gaps"`
	Revalidated    int64 `json:"revalidated"`
	RemoteErrors   int64 `json:"remote_errors"`
	RemoteSkipped  int64 `json:"remote_skipped"` // calls not made because the Remote is down
	RemoteTrips    int64 `json:"remote_trips"`   // calls of Remote and Bus
	Saves          int64 `json:"saves"`
	SaveErrors     int64 `json:"save_errors"`
	EventsDropped  int64 `json:"events_dropped"`
	LoadNanos      int64 `json:"load_nanos"`

	Entries  int64 `json:"entries"`
	Weight   int64 `json:"weight"`
	Pending  int64 `json:"pending"` // invalidations kept for replay
	Unsaved  int64 `json:"unsaved"`
	Linked   bool  `json:"linked"` // the Bus is in step
	RemoteUp bool  `json:"remote_up"`
}

// counters are the totals, but for what each shard counts. All are beside something
// slower than an atomic add.
type counters struct {
	remoteHits, remoteMisses, notFoundHits, staleServed, loads, loadErrors                atomic.Int64
	coalesced, refreshes, earlyRefreshes, leaseWaits, fillsRejected, undecodable          atomic.Int64
	invalidations, busMessages, busGaps, revalidated                                      atomic.Int64
	remoteErrors, remoteSkipped, remoteTrips, saves, saveErrors, eventsDropped, loadNanos atomic.Int64
}

// hitStripes is how many counters share the L1 hits, so that two processors
// seldom write the same cache line.
const hitStripes = 32

type hitCounter [hitStripes]struct {
	atomic.Int64
	_ [56]byte
}

// add counts a hit of the key with this hash.
func (h *hitCounter) add(hash uint64) { h[hash>>8%hitStripes].Add(1) }

func (h *hitCounter) sum() (n int64) {
	if h == nil {
		return 0
	}
	for i := range h {
		n += h[i].Load()
	}
	return n
}

// Stats returns a snapshot. The counters are read one after the other.
func (c *Cache[K, V]) Stats() Stats {
	s := &c.stats
	return Stats{
		LocalHits: c.hits.sum(), LocalMisses: c.table.misses(),
		RemoteHits: s.remoteHits.Load(), RemoteMisses: s.remoteMisses.Load(),
		NotFoundHits: s.notFoundHits.Load(), StaleServed: s.staleServed.Load(),
		Loads: s.loads.Load(), LoadErrors: s.loadErrors.Load(), Coalesced: s.coalesced.Load(),
		Refreshes: s.refreshes.Load(), EarlyRefreshes: s.earlyRefreshes.Load(), LeaseWaits: s.leaseWaits.Load(),
		FillsRejected: s.fillsRejected.Load(), Undecodable: s.undecodable.Load(),
		Evictions: c.table.gone(evicted), Expirations: c.table.gone(expired), Invalidations: s.invalidations.Load(),
		BusMessages: s.busMessages.Load(), BusGaps: s.busGaps.Load(), Revalidated: s.revalidated.Load(),
		RemoteErrors: s.remoteErrors.Load(), RemoteSkipped: s.remoteSkipped.Load(), RemoteTrips: s.remoteTrips.Load(),
		Saves: s.saves.Load(), SaveErrors: s.saveErrors.Load(),
		EventsDropped: s.eventsDropped.Load(), LoadNanos: s.loadNanos.Load(),

		Entries: c.table.len(), Weight: c.table.weight(), Pending: c.pending.len(), Unsaved: c.unsaved.len(),
		Linked:   c.cfg.Bus != nil && c.link.inStep() && (c.cfg.Remote == nil || c.stamps.known()),
		RemoteUp: c.cfg.Remote != nil && !c.health.down.Load(),
	}
}

// dispose tells OnRemove what left L1. No lock is held. The value of kept, if not
// nil, has not left: its box was exchanged.
func (c *Cache[K, V]) dispose(out *removed[K, V], kept *box[V]) {
	for _, r := range out.values {
		if r.box != kept && (r.box.meta == nil || !r.box.meta.absent) {
			c.cfg.OnRemove(r.key, r.box.value)
		}
	}
}

// collect returns where to put what leaves.
func (c *Cache[K, V]) collect() removed[K, V] { return removed[K, V]{keep: c.cfg.OnRemove != nil} }
