package cache

import (
	"context"
	"slices"
	"time"
)

// flyRemote takes flights to the Remote, and those that must load to the source.
func (c *Cache[K, V]) flyRemote(fs []*flight[K, V]) {
	ready, held := c.ask(span{ctx: fs[0].work.ctx}, fs)
	c.loadThese(c.poll(ready, held))
}

// flyHere is fly, on the goroutine of the caller until the Remote has answered: a
// hit there then costs no switch of goroutines. What is left to do goes on by
// itself. The read ends with the caller's ctx, and is made again for others who
// wait. done is called when the goroutine that c.works counts would have ended.
func (c *Cache[K, V]) flyHere(ctx context.Context, fs []*flight[K, V], done func()) {
	read := span{ctx: fs[0].work.ctx}
	if ctx.Done() != nil {
		read.caller = ctx
	}
	var ready, held []*flight[K, V]
	goesOn := false
	defer func() {
		if !goesOn {
			done()
		}
	}()
	c.flyAll(fs, func(fs []*flight[K, V]) { ready, held = c.ask(read, fs) })
	if len(ready)+len(held) == 0 {
		return
	}
	goesOn = true
	go func() {
		defer done()
		c.flyAll(slices.Concat(ready, held), func([]*flight[K, V]) { c.loadThese(c.poll(ready, held)) })
	}()
}

// loadThese loads flights that the Remote has let through. One goroutine runs
// them all, so they have one work and one loader.
func (c *Cache[K, V]) loadThese(fs []*flight[K, V]) {
	if len(fs) == 1 {
		c.loadOne(fs[0])
	} else if len(fs) > 1 {
		c.loadMany(fs)
	}
}

// poll returns the flights that now may load. While somebody else holds a lease
// it asks again and again, beside the loads if there are some: a node that kept
// its own leases while it waited for others' could wait for a node that does the
// same.
func (c *Cache[K, V]) poll(ready, held []*flight[K, V]) []*flight[K, V] {
	for delay := pollMin; len(held) > 0; delay = min(2*delay, pollMax) {
		if len(ready) > 0 {
			rest := held
			for _, f := range rest {
				f.leg.Add(1)
			}
			if !c.works.spawn(func() { c.flyAll(rest, c.flyHeld) }) {
				c.endAll(rest, ErrClosed)
			}
			return ready
		}
		c.stats.leaseWaits.Add(1)
		w := held[0].work
		if !sleep(w.ctx, delay) {
			for _, f := range held {
				f.outcome = c.acceptFailure(f, c.lateError(w.ctx.Err()))
				c.finish(f, f.outcome)
			}
			return nil
		}
		ready, held = c.ask(span{ctx: w.ctx}, held)
	}
	return ready
}

// flyHeld is flyRemote for flights that have to wait first.
func (c *Cache[K, V]) flyHeld(fs []*flight[K, V]) {
	if sleep(fs[0].work.ctx, pollMin) {
		c.flyRemote(fs)
		return
	}
	for _, f := range fs {
		c.finish(f, c.acceptFailure(f, c.lateError(f.work.ctx.Err())))
	}
}

func (c *Cache[K, V]) endAll(fs []*flight[K, V], err error) {
	for _, f := range fs {
		c.finish(f, outcome[V]{err: err})
	}
}

// sleep waits, and reports false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ask is one read of the Remote. It ends the flights that have an answer and
// returns those that may load, and those to ask about again: somebody else holds
// their lease, or the span has ended before their work.
func (c *Cache[K, V]) ask(s span, fs []*flight[K, V]) (ready, held []*flight[K, V]) {
	fs, ready = c.passPending(fs)
	for len(fs) > 0 {
		queries := make([]Query, len(fs))
		for i, f := range fs {
			queries[i] = c.query(f)
		}
		read := c.clock.now()
		records, err := c.remoteGet(s, queries, c.leases(fs[0]))
		if err != nil {
			return c.unanswered(s, fs, err, ready, held)
		}
		found := make([]found[V], len(fs))
		for i, f := range fs {
			found[i] = c.open(f, queries[i], &records[i])
		}
		if err := c.judgeFound(s, fs, found); err != nil {
			return c.unanswered(s, fs, err, ready, held)
		}
		var again []*flight[K, V]
		for i, f := range fs {
			switch c.take(f, &found[i], read) {
			case mayLoad:
				ready = append(ready, f)
			case mustPoll:
				held = append(held, f)
			case mustAsk:
				again = append(again, f)
			case ended:
			}
		}
		fs = again
	}
	return ready, held
}

// unanswered is what ask returns when it gets no answer about fs.
func (c *Cache[K, V]) unanswered(s span, fs []*flight[K, V], err error, ready, held []*flight[K, V]) (load, again []*flight[K, V]) {
	if s.over() && fs[0].work.ctx.Err() == nil {
		return ready, append(held, fs...)
	}
	return append(ready, c.withoutRemote(fs, err)...), held
}

// leases tells whether a flight could use a lease.
func (c *Cache[K, V]) leases(f *flight[K, V]) bool {
	return f.aim != toLookup && (f.load != nil || c.cfg.loads())
}

// passPending lets flights past the Remote whose invalidation it may not know yet.
func (c *Cache[K, V]) passPending(fs []*flight[K, V]) (rest, past []*flight[K, V]) {
	if c.pending.len() == 0 {
		return fs, nil
	}
	for _, f := range fs {
		switch {
		case !c.pending.holds(f.name):
			rest = append(rest, f)
		case c.leases(f):
			f.outage = true
			past = append(past, f)
		default:
			c.finish(f, outcome[V]{err: ErrNotFound, drop: f.suspect})
		}
	}
	return rest, past
}

// query asks for the record, without its data if that is here.
func (c *Cache[K, V]) query(f *flight[K, V]) Query {
	q := Query{Key: f.name}
	if b := f.old.Load(); b != nil && b.meta != nil {
		q.Version = b.meta.version
	}
	switch {
	case f.insist != 0:
		q.Version, q.Refresh = f.insist, true
	case f.aim == toRefresh:
		q.Version, q.Refresh = 0, true
	case f.aim == toRenewEarly:
		q.Refresh = q.Version != 0
	}
	return q
}

// found is a record that was read.
type found[V any] struct {
	*Record
	header header
	old    *box[V] // has the value, since the versions are equal
	data   []byte  // of the value, otherwise
	usable bool    // there is a value or a marker, and it is not fenced
	seq    uint64  // of the stamps when it was judged
}

// open takes a record out of its envelope.
func (c *Cache[K, V]) open(f *flight[K, V], q Query, r *Record) found[V] {
	got := found[V]{Record: r}
	switch {
	case r.Version == 0:
	case r.Data != nil:
		var err error
		if got.header, got.data, err = open(c.cfg.Schema, r.Data); err != nil {
			c.undecodable(f, err)
			break
		}
		got.usable = true
	case f.insist == 0:
		if b := f.old.Load(); b != nil && b.meta != nil && b.meta.version == q.Version {
			got.header, got.old, got.usable = b.meta.header, b, true
		}
	}
	return got
}

func (c *Cache[K, V]) undecodable(f *flight[K, V], err error) {
	c.stats.undecodable.Add(1)
	c.tellOf(EventUndecodable, f.key, err)
}

// judgeFound decides which records are fenced. The Remote has to be asked once
// more about tags of records that are older than what this node knows, and while
// the bus is not in step; then also the loads that come get to know the counter.
func (c *Cache[K, V]) judgeFound(s span, fs []*flight[K, V], found []found[V]) error {
	seq := c.stamps.seq.Load()
	var tags []string
	ask := !c.stamps.known()
	for i := range found {
		if r := &found[i]; r.usable && c.stamps.mustAsk(r.header.generation, r.header.tags) {
			tags = append(tags, r.header.tags...)
			ask = true
		}
	}
	stamped := map[string]uint64{}
	clearedAt := uint64(0)
	if ask {
		g, err := c.generations(s, tags)
		if err != nil {
			return err
		}
		clearedAt = g.Clear
		for i, tag := range tags {
			stamped[tag] = g.Tags[i]
		}
		for _, f := range fs {
			f.generation = max(f.generation, g.Now)
		}
	}
	for i := range found {
		r := &found[i]
		r.seq = seq
		if !r.usable {
			continue
		}
		h := &r.header
		r.usable = clearedAt <= h.generation && !c.stamps.fenced(h.generation, h.tags)
		for _, tag := range h.tags {
			r.usable = r.usable && stamped[tag] <= h.generation
		}
	}
	return nil
}
