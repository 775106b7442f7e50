package eventsql

import (
	"slices"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// onPostgres sends the jobs as one append: all their conditions are checked
// before anything is written. That is the same as one after another, because
// only jobs that nothing before them in the group has a say in are taken.
//
// Rejected: one call per append within a transaction. A round trip for each
// costs more than the commit that is saved.
func (g *group) onPostgres() {
	ctx, s := g.s.ctx, g.s
	conn, err := s.db.Conn(ctx)
	if err != nil {
		g.fail(err)
		return
	}
	var mix mixture
	jobs := g.take(func(j *job, _ []*job) bool { return mix.add(s.hash, j.r) })
	for q := querier(conn); len(jobs) > 1 && !s.inTx.Load(); q = s.db {
		m := mergeRequests(jobs)
		v, err := s.callAppend(ctx, q, m.request, m.keys(s.hash), true)
		conn.Close() // answers may need it: it can be the pool's only one
		if err != nil {
			if !sqldb.RolledBack(err) && !sqldb.NotSent(err) {
				jobs = g.lost(jobs, err)
			}
			break
		}
		if v.kind == isIsolation {
			s.inTx.Store(true)
			break
		}
		s.stats.commits.Add(1)
		jobs = g.answer(jobs, m, v)
	}
	conn.Close()
	g.oneByOne(jobs, s.direct)
}

// answer gives every job its share of a verdict, and returns those that have
// none yet: the others of a group in which some conditions failed.
func (g *group) answer(jobs []*job, m mergedRequest, v verdict) (rest []*job) {
	ctx, s := g.s.ctx, g.s
	switch v.kind {
	case isWritten:
		for i, j := range jobs {
			j.finish(s.conclude(ctx, s.db, j.r, m.share(i, v)))
		}
	case isConflict:
		for i, j := range jobs {
			if failed := m.failures(i, v); len(failed) > 0 {
				j.finish(s.conclude(ctx, s.db, j.r, verdict{kind: isConflict, failed: failed}))
			} else {
				rest = append(rest, j)
			}
		}
	default: // known: those who may be meant find out for themselves
		for _, j := range jobs {
			if j.r.check {
				j.finish(s.send(ctx, j.r, s.direct))
			} else {
				rest = append(rest, j)
			}
		}
	}
	return rest
}

// mixture decides which jobs can be one append.
type mixture struct {
	streams map[string]bool
	ids     map[string]bool
	sources map[string]bool
	events  []eventsource.Event // for queries of later conditions
	keys    int
}

// add takes r in, unless a request before it has a say in it: it looks at what
// they write, or has an id or a source in common. Together they have at most
// maxGroupKeys locks.
func (m *mixture) add(h hasher, r *request) bool {
	keys := len(h.keys(r))
	if m.ids == nil {
		m.ids, m.streams, m.sources = map[string]bool{}, map[string]bool{}, map[string]bool{}
	} else if m.keys+keys > maxGroupKeys || m.affects(r) {
		return false
	}
	m.keys += keys
	for _, name := range r.streams {
		m.streams[name] = true
	}
	for i := range r.rows {
		m.ids[r.rows[i].id] = true
		m.events = append(m.events, r.rows[i].event())
	}
	for _, c := range r.conds {
		if source, _, ok := c.Track(); ok {
			m.sources[source] = true
		}
	}
	return true
}

func (m *mixture) affects(r *request) bool {
	return slices.ContainsFunc(r.rows, func(x row) bool { return m.ids[x.id] }) ||
		slices.ContainsFunc(r.conds, func(c eventsource.Condition) bool {
			stream, _, _ := c.Version()
			exists, _ := c.Exists()
			source, _, _ := c.Track()
			q, _, _ := c.NoneSince()
			return m.streams[stream] || m.streams[exists] || m.sources[source] ||
				len(q) > 0 && slices.ContainsFunc(m.events, q.Match)
		})
}

// mergedRequest is several requests as one, and where each begins in it.
type mergedRequest struct {
	*request
	parts          []*request
	owners         [][]int // of part i: its streams' numbers in the whole, from 0
	offsets        [][]uint64
	rowsAt, condAt []int
}

func mergeRequests(jobs []*job) mergedRequest {
	m := mergedRequest{request: &request{}}
	numbers := map[string]int{}
	var counts []int // rows so far, per stream
	for _, j := range jobs {
		r := j.r
		m.parts = append(m.parts, r)
		m.rowsAt, m.condAt = append(m.rowsAt, len(m.rows)), append(m.condAt, len(m.conds))
		owners, offsets := make([]int, len(r.streams)), make([]uint64, len(r.streams))
		for i, name := range r.streams {
			n, ok := numbers[name]
			if !ok {
				n = len(m.streams)
				numbers[name] = n
				m.streams, counts = append(m.streams, name), append(counts, 0)
			}
			owners[i], offsets[i] = n, uint64(counts[n])
		}
		for _, x := range r.rows {
			if x.owner > 0 {
				n := owners[x.owner-1]
				x.nth += int(offsets[x.owner-1])
				counts[n] = max(counts[n], x.nth)
				x.owner = n + 1
			}
			m.rows = append(m.rows, x)
		}
		m.owners, m.offsets = append(m.owners, owners), append(m.offsets, offsets)
		m.conds = append(m.conds, r.conds...)
		m.check = m.check || r.check
	}
	return m
}

// keys are those of all parts: the first given id of each is among them.
func (m mergedRequest) keys(h hasher) (all []key) {
	for _, r := range m.parts {
		all = append(all, h.keys(r)...)
	}
	return merged(all, maxGroupKeys)
}

// share is the verdict for part i of a whole that was written.
func (m mergedRequest) share(i int, v verdict) verdict {
	r, from := m.parts[i], m.rowsAt[i]
	part := verdict{kind: isWritten, positions: v.positions[from : from+len(r.rows)]}
	for k, n := range m.owners[i] {
		part.versions = append(part.versions, v.versions[n]+m.offsets[i][k])
	}
	return part
}

// failures are those of part i's conditions, in their order.
func (m mergedRequest) failures(i int, v verdict) (failed []failure) {
	from, n := m.condAt[i], len(m.parts[i].conds)
	for _, f := range v.failed {
		if f.index >= from && f.index < from+n {
			failed = append(failed, failure{f.index - from, f.found})
		}
	}
	return failed
}
