package saga

import "sync/atomic"

// Stats are the totals of one coordinator since [New], and how it stands.
type Stats struct {
	Running int `json:"running"` // sagas loaded
	Foreign int `json:"foreign"` // due, but of no definition here; counted to 1,000

	// Durability is the store's: "memory", "fsync" or "relaxed". Empty if it does
	// not say.
	Durability string `json:"durability"`

	Started     uint64 `json:"started"`
	Completed   uint64 `json:"completed"`
	Compensated uint64 `json:"compensated"`
	Abandoned   uint64 `json:"abandoned"`
	Stuck       uint64 `json:"stuck"`
	Steps       uint64 `json:"steps"` // done
	Undos       uint64 `json:"undos"`
	Retries     uint64 `json:"retries"`
	Claims      uint64 `json:"claims"`
	Fenced      uint64 `json:"fenced"` // writes refused since another process owns the saga
	LeasesLost  uint64 `json:"leases_lost"`
	Commits     uint64 `json:"commits"`
	Writes      uint64 `json:"writes"`
	Dropped     uint64 `json:"dropped"` // events
	Purged      uint64 `json:"purged"`
}

type totals struct {
	started, completed, compensated, abandoned, stuck atomic.Uint64
	steps, undos, retries, claims, fenced, lost       atomic.Uint64
	dropped, purged                                   atomic.Uint64
	foreign                                           atomic.Int64
}

// Stats returns a snapshot.
func (c *Coordinator) Stats() Stats {
	t := &c.totals
	s := Stats{
		Foreign: int(t.foreign.Load()),
		Started: t.started.Load(), Completed: t.completed.Load(), Compensated: t.compensated.Load(),
		Abandoned: t.abandoned.Load(), Stuck: t.stuck.Load(), Steps: t.steps.Load(), Undos: t.undos.Load(),
		Retries: t.retries.Load(), Claims: t.claims.Load(), Fenced: t.fenced.Load(), LeasesLost: t.lost.Load(),
		Dropped: t.dropped.Load(), Purged: t.purged.Load(),
	}
	if says, ok := c.store.(interface{ Durability() string }); ok {
		s.Durability = says.Durability()
	}
	s.Commits, s.Writes = c.writes.commits.Load(), c.writes.writes.Load()
	if srv := c.serving(); srv != nil {
		s.Running = srv.loaded()
	}
	return s
}
