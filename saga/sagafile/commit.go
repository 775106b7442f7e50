package sagafile

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// maxCommit is how many bytes share one reservation of room in the log.
const maxCommit = 64 << 20

// draft is a write, encoded but for its head.
type draft struct {
	def, body []byte
}

// Commit implements [saga.Store]: one write and one fsync, shared with whoever
// commits meanwhile.
func (s *Store) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	buf := s.bufs.Get().(*[]byte)
	defer s.bufs.Put(buf)
	drafts, size := encode(writes, buf)
	if size > maxCommit && len(writes) > 1 {
		return s.halves(ctx, writes)
	}
	if err := s.log.Reserve(ctx, size); err != nil {
		return nil, translate(err)
	}
	verdicts := make([]saga.Verdict, len(writes))
	var doubtful []int
	used := 0
	s.mu.Lock()
	now := s.now()
	for i := range writes {
		v, n := s.commit(&writes[i], drafts[i], now)
		if v.Err == errDoubtful { //nolint:errorlint // it goes no further than here
			doubtful = append(doubtful, i)
		}
		verdicts[i] = v
		used += n
	}
	tail := s.tail
	s.mu.Unlock()
	s.log.Release(size - used)
	if err := s.wait(ctx, tail); err != nil {
		return nil, err
	}
	for _, i := range doubtful {
		if err := s.settle(ctx, &writes[i], &verdicts[i]); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

// halves commits what is too large for one go.
func (s *Store) halves(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	first, err := s.Commit(ctx, writes[:len(writes)/2])
	if err != nil {
		return nil, err
	}
	second, err := s.Commit(ctx, writes[len(writes)/2:])
	return append(first, second...), err
}

// encode appends everything to buf. The size includes heads and definitions.
func encode(writes []saga.Write, buf *[]byte) (drafts []draft, size int) {
	b := (*buf)[:0]
	ends := make([][2]int, len(writes))
	for i := range writes {
		b = appendDefinition(b, &writes[i].Summary)
		ends[i][0] = len(b)
		b = appendWrite(b, &writes[i])
		ends[i][1] = len(b)
	}
	*buf = b
	drafts = make([]draft, len(writes))
	start := 0
	for i, end := range ends {
		drafts[i] = draft{b[start:end[0]], b[end[0]:end[1]]}
		start = end[1]
	}
	return drafts, len(b) + len(writes)*headSize
}

// errDoubtful: the write does not extend the saga; is it the one that did?
var errDoubtful = fmt.Errorf("%w: not checked yet", saga.ErrFenced)

// commit judges a write and enqueues it. The lock is held.
func (s *Store) commit(w *saga.Write, d draft, now int64) (v saga.Verdict, used int) {
	v.At = timeOf(now)
	e := s.sagas[w.Summary.ID]
	switch {
	case w.Summary.Epoch == 0 && e != nil:
		found := e.summary()
		v.Mail, v.Found = e.mail, &found
		if e.fingerprint != w.Summary.Fingerprint {
			v.Err = saga.ErrConflict
		}
	case w.Summary.Epoch == 0:
		t := s.enqueue(head{frameWrite, hasDefinition, 0, now}.append(nil), d.def, d.body)
		used = headSize + len(d.def) + len(d.body)
		e = s.create(w, len(w.Records) > 0, now, t.Ref)
		e.bytes = int64(used)
		s.own(e, w.Summary.Owner, now)
		s.place(e)
	case e == nil:
		v.Err = saga.ErrNotFound
	case e.epoch != w.Summary.Epoch || len(w.Records) > 0 && w.Records[0].Seq != e.seq+1:
		v.Mail, v.Err = e.mail, errDoubtful
	default:
		used = s.extend(e, w, d, now)
		v.Mail = e.mail
	}
	return v, used
}

// own gives a new saga to its creator, if that one is alive.
func (s *Store) own(e *entry, name string, now int64) {
	if !e.held {
		return
	}
	e.held = false
	if e.owner = s.owners[name]; e.owner == nil {
		e.wakeAt = dueAfter(e.state, now)
	}
}

func (s *Store) extend(e *entry, w *saga.Write, d draft, now int64) (used int) {
	h := head{kind: frameWrite, prev: e.last, at: now}
	if e.def.name != w.Summary.Name || e.def.version != w.Summary.Version || e.def.shape != w.Summary.Shape || e.fingerprint != w.Summary.Fingerprint {
		h.flags = hasDefinition
	} else {
		d.def = nil
	}
	t := s.enqueue(h.append(nil), d.def, d.body)
	used = headSize + len(d.def) + len(d.body)
	s.leave(e)
	was := e.owner
	s.apply(e, w, len(w.Records) > 0, h, t.Ref)
	e.bytes += int64(used)
	if e.held {
		// Who holds it goes on holding it. Nobody: the writer's lease has run out,
		// and nobody has claimed the saga since.
		e.held = false
		if e.owner = was; was == nil {
			e.wakeAt = dueAfter(e.state, now)
		}
	}
	s.place(e)
	if e.state.Ended() {
		s.ended = append(s.ended, ending{e, now})
	}
	return used
}

// create and apply do what a write says, now and when the log is read again. They
// leave owner nil, and in held whether there should be one.
func (s *Store) create(w *saga.Write, extends bool, at int64, ref wal.Ref) *entry {
	e := &entry{id: w.Summary.ID, epoch: 1, started: at, first: ref, place: -1}
	s.sagas[e.id] = e
	s.apply(e, w, extends, head{flags: hasDefinition, at: at}, ref)
	return e
}

func (s *Store) apply(e *entry, w *saga.Write, extends bool, h head, ref wal.Ref) {
	if h.flags&hasDefinition != 0 {
		e.def, e.fingerprint = s.definition(&w.Summary), w.Summary.Fingerprint
	}
	e.set(&w.Summary)
	if extends {
		e.seq = w.Summary.Seq
	}
	e.claims, e.updated, e.wakeAt, e.last = 0, h.at, 0, ref
	e.changes++
	e.forgetRead(w.Read)
	e.owner, e.held = nil, !w.Release
	switch {
	case !w.Release:
	case e.unread() > 0:
		e.wakeAt = dueAfter(e.state, h.at)
	case w.WakeIn >= 0:
		e.wakeAt = dueAfter(e.state, h.at+int64(w.WakeIn))
	}
}

// settle decides about a write that does not extend its saga: stored already, by a
// call whose reply was lost, or fenced.
func (s *Store) settle(ctx context.Context, w *saga.Write, v *saga.Verdict) error {
	v.Err = saga.ErrFenced
	if len(w.Records) == 0 {
		return nil
	}
	_, log, _, err := s.Load(ctx, w.Summary.ID)
	switch {
	case err == saga.ErrNotFound: //nolint:errorlint // Load returns it as it is
		v.Err = saga.ErrNotFound // purged meanwhile
		return nil
	case err != nil:
		return err
	}
	if holds(log, w.Records) {
		v.Err = nil
	}
	return nil
}

// holds: these very records are in the log.
func holds(log, records []saga.Record) bool {
	return !slices.ContainsFunc(records, func(r saga.Record) bool {
		if r.Seq == 0 || r.Seq > uint64(len(log)) {
			return true
		}
		l := log[r.Seq-1]
		return l.Kind != r.Kind || l.Step != r.Step || l.Epoch != r.Epoch || l.Attempt != r.Attempt || l.Error != r.Error || !bytes.Equal(l.Data, r.Data)
	})
}
