package saga

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a [Store] within the process: for tests, demos, and sagas that may die
// with the process. It is safe for concurrent use and has no goroutine.
type Memory struct {
	mu     sync.Mutex
	sagas  map[string]*held
	owners map[string]*owner
	dead   map[string]bool      // owners whose lease ran out
	queues map[string]*dueQueue // unowned sagas by what can run them

	verdicts []Verdict // not used yet
}

type held struct {
	Summary
	log   packed
	mail  []Record        // unread
	keys  map[string]bool // of messages, also of those read
	queue *dueQueue
	place int // in queue, -1: not there
}

type owner struct {
	until time.Time
	sagas map[string]*held
	mail  map[string]bool // of its sagas those with unread messages
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		sagas: map[string]*held{}, owners: map[string]*owner{},
		dead: map[string]bool{}, queues: map[string]*dueQueue{},
	}
}

// Durability returns "memory".
func (m *Memory) Durability() string { return "memory" }

// Commit implements [Store].
func (m *Memory) Commit(ctx context.Context, writes []Write) ([]Verdict, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UTC().Round(0)
	if len(m.verdicts) < len(writes) { // one allocation for many small commits
		m.verdicts = make([]Verdict, max(64, len(writes)))
	}
	verdicts := m.verdicts[:len(writes):len(writes)]
	m.verdicts = m.verdicts[len(writes):]
	for i := range writes {
		verdicts[i] = m.commit(&writes[i], now)
	}
	return verdicts, nil
}

// commitOne is Commit of one write, for the committer: what is stored at once needs
// nobody to share it with.
func (m *Memory) commitOne(ctx context.Context, p *pending) {
	if p.err = ctx.Err(); p.err != nil {
		p.err = context.Cause(ctx)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.verdict = m.commit(&p.write, time.Now().UTC().Round(0))
}

func (m *Memory) commit(w *Write, now time.Time) Verdict {
	h := m.sagas[w.Summary.ID]
	if w.Summary.Epoch == 0 {
		return m.create(h, w, now)
	}
	if h == nil {
		return Verdict{Err: ErrNotFound, At: now}
	}
	v := Verdict{Mail: h.Mail, At: now}
	switch {
	case h.Epoch == w.Summary.Epoch && follows(h.Seq, w.Records):
		m.store(h, w, now)
	case !holds(h.log.records("", ""), w.Records):
		v.Err = ErrFenced
	}
	return v
}

func (m *Memory) create(h *held, w *Write, now time.Time) Verdict {
	if h != nil {
		found := h.Summary
		v := Verdict{Mail: h.Mail, At: now, Found: &found}
		if h.Fingerprint != w.Summary.Fingerprint {
			v.Err = ErrConflict
		}
		return v
	}
	h = &held{Summary: Summary{ID: w.Summary.ID, Epoch: 1, Started: now}, place: -1}
	if w.Summary.Owner != "" {
		h.log = make(packed, 0, 1<<10) // it runs now; what waits is clipped
	}
	m.sagas[h.ID] = h
	if !w.Release && m.owners[w.Summary.Owner] != nil {
		h.Owner = w.Summary.Owner
	}
	m.store(h, w, now)
	m.place(h)
	return Verdict{At: now}
}

// store takes the write over. Who holds the saga goes on holding it, whatever the
// write says; nobody does if the writer's lease ran out and the saga was not
// claimed since.
func (m *Memory) store(h *held, w *Write, now time.Time) {
	seq := h.Seq
	for i := range w.Records {
		r := &w.Records[i]
		h.log = h.log.add(r, now)
		seq = r.Seq
	}
	stays := !w.Release && h.Owner != "" && len(h.mail) == 0
	if !stays {
		m.leave(h)
		h.mail = slices.DeleteFunc(h.mail, func(r Record) bool { return r.Seq <= w.Read })
	}
	was := h.Summary
	h.Summary = w.Summary
	s := &h.Summary
	s.Epoch, s.Mail, s.Claims, s.Started, s.Updated = was.Epoch, was.Mail, 0, was.Started, now
	s.Owner, s.Seq, s.WakeAt = was.Owner, seq, time.Time{}
	if stays {
		return // where it is, as a saga without messages
	}
	if w.Release {
		s.Owner = ""
		if !s.State.Ended() {
			h.log = append(make(packed, 0, len(h.log)), h.log...)
		}
	}
	switch {
	case s.Owner != "" || s.State.Ended() || s.State == Stuck:
	case !w.Release || len(h.mail) > 0:
		s.WakeAt = now
	case w.WakeIn >= 0:
		s.WakeAt = now.Add(w.WakeIn)
	}
	m.place(h)
}

// follows: the records extend a log that ends at seq.
func follows(seq uint64, records []Record) bool {
	return len(records) == 0 || records[0].Seq == seq+1
}

// holds: these very records are in the log.
func holds(log, records []Record) bool {
	for _, r := range records {
		if r.Seq == 0 || r.Seq > uint64(len(log)) {
			return false
		}
		l := log[r.Seq-1]
		if l.Kind != r.Kind || l.Step != r.Step || l.Epoch != r.Epoch || l.Attempt != r.Attempt || l.Error != r.Error || !bytes.Equal(l.Data, r.Data) {
			return false
		}
	}
	return len(records) > 0
}

// leave takes the saga out of its owner's hands and out of its queue; place puts
// it where its header says.
func (m *Memory) leave(h *held) {
	if o := m.owners[h.Owner]; o != nil {
		delete(o.sagas, h.ID)
		delete(o.mail, h.ID)
	}
	if h.place >= 0 {
		heap.Remove(h.queue, h.place)
	}
}

func (m *Memory) place(h *held) {
	if o := m.owners[h.Owner]; o != nil {
		o.sagas[h.ID] = h
		if len(h.mail) > 0 {
			o.mail[h.ID] = true
		}
		return
	}
	if h.Owner == "" && !h.WakeAt.IsZero() && h.place < 0 {
		key := canName(h.Name, h.Version) + "/" + h.Shape
		h.queue = m.queues[key]
		if h.queue == nil {
			h.queue = &dueQueue{}
			m.queues[key] = h.queue
		}
		heap.Push(h.queue, h)
	}
}

// canName is how a [Lease] names a definition of any shape.
func canName(name string, version int) string { return fmt.Sprintf("%s@%d", name, version) }

// Poll implements [Store].
func (m *Memory) Poll(ctx context.Context, l Lease) (Work, error) {
	if ctx.Err() != nil {
		return Work{}, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UTC().Round(0)
	if m.dead[l.Owner] {
		return Work{}, ErrFenced
	}
	o := m.owners[l.Owner]
	if l.For <= 0 {
		m.free(l.Owner, now)
		return Work{Next: -1, Now: now}, nil
	}
	if o == nil {
		o = &owner{sagas: map[string]*held{}, mail: map[string]bool{}}
		m.owners[l.Owner] = o
	}
	o.until = now.Add(l.For)
	for name, other := range m.owners {
		if other.until.Before(now) {
			m.dead[name] = true
			m.free(name, now)
		}
	}
	w := Work{Next: -1, Now: now}
	if l.Only != "" {
		if h := m.sagas[l.Only]; h != nil && h.Owner == "" {
			w.Claimed = append(w.Claimed, m.claim(h, l.Owner))
		}
	} else {
		m.claimDue(&w, l, now)
	}
	w.Mail = slices.Sorted(maps.Keys(o.mail))
	return w, nil
}

// free makes the sagas of an owner that is gone due.
func (m *Memory) free(name string, now time.Time) {
	o := m.owners[name]
	if o == nil {
		return
	}
	delete(m.owners, name)
	for _, h := range o.sagas {
		h.Owner = ""
		if !h.State.Ended() && h.State != Stuck {
			h.WakeAt = now
		}
		m.place(h)
	}
}

func (m *Memory) claim(h *held, owner string) Summary {
	m.leave(h)
	h.Owner, h.WakeAt = owner, time.Time{}
	h.Epoch++
	h.Claims++
	m.place(h)
	return h.Summary
}

func (m *Memory) claimDue(w *Work, l Lease, now time.Time) {
	var mine []*dueQueue
	for key, q := range m.queues {
		anyShape, _, _ := bytes.Cut([]byte(key), []byte("/"))
		if slices.Contains(l.Can, key) || slices.Contains(l.Can, string(anyShape)) {
			mine = append(mine, q)
			continue
		}
		w.Foreign = min(w.Foreign+q.dueBy(now, 1000), 1000)
	}
	for {
		var first *held
		for _, q := range mine {
			if len(*q) > 0 && (first == nil || (*q)[0].before(first)) {
				first = (*q)[0]
			}
		}
		if first == nil {
			return
		}
		if wait := first.WakeAt.Sub(now); wait > 0 || len(w.Claimed) >= l.Limit {
			w.Next = max(wait, 0)
			return
		}
		w.Claimed = append(w.Claimed, m.claim(first, l.Owner))
	}
}

// Purge forgets ended sagas whose last commit is at least olderThan ago, at most
// limit of them, and returns how many. Their ids are free again.
func (m *Memory) Purge(ctx context.Context, olderThan time.Duration, limit int) (n int, err error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, h := range m.sagas {
		if n >= limit {
			break
		}
		if h.State.Ended() && h.Owner == "" && time.Since(h.Updated) >= olderThan {
			m.leave(h)
			delete(m.sagas, id)
			n++
		}
	}
	return n, nil
}
