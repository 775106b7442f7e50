package sagafile

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/keelson-go/keelson/saga"
)

const (
	maxClaims  = 4096                         // of one Poll; there is a next one
	claimSize  = headSize + 2 + 255 + 10 + 10 // of an id as long as it may be
	maxForeign = 1000
	maxUnread  = 1000
)

// Poll implements [saga.Store]. What it claims is durable when it returns, so that
// a saga that kills its process is counted.
func (s *Store) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	if err := s.ready(ctx); err != nil {
		return saga.Work{}, err
	}
	room := max(min(l.Limit, maxClaims), 0) * claimSize
	if l.Only != "" {
		room = claimSize + len(l.Only)
	}
	if err := s.log.Reserve(ctx, room); err != nil {
		return saga.Work{}, translate(err)
	}
	s.mu.Lock()
	w, left, err := s.poll(l, room)
	tail := s.tail
	s.mu.Unlock()
	s.log.Release(left)
	if err == nil && len(w.Claimed) > 0 {
		err = s.wait(ctx, tail)
	}
	if err != nil {
		return saga.Work{}, err
	}
	return w, nil
}

func (s *Store) poll(l saga.Lease, room int) (w saga.Work, left int, err error) {
	now := s.now()
	w = saga.Work{Next: -1, Now: timeOf(now)}
	if _, dead := s.dead[l.Owner]; dead {
		return w, room, saga.ErrFenced
	}
	if l.For <= 0 {
		s.free(l.Owner, now)
		return w, room, nil
	}
	o := s.owners[l.Owner]
	if o == nil {
		o = &owner{name: l.Owner, sagas: map[*entry]struct{}{}, mail: map[*entry]struct{}{}}
		s.owners[l.Owner] = o
	}
	at := time.Now()
	o.until = at.Add(l.For)
	for name, other := range s.owners {
		if other.until.Before(at) {
			s.dead[name] = struct{}{}
			s.free(name, now)
		}
	}
	if l.Only == "" {
		room = s.claimDue(&w, l, o, now, room)
	} else if e := s.sagas[l.Only]; e != nil && e.owner == nil {
		room -= s.claim(&w, e, o, now)
	}
	w.Mail = ids(o.mail)
	return w, room, nil
}

// free makes the sagas of an owner that is gone due. The log need not know: what
// is held is due after a restart as well.
func (s *Store) free(name string, now int64) {
	o := s.owners[name]
	if o == nil {
		return
	}
	delete(s.owners, name)
	for e := range o.sagas {
		e.owner = nil
		e.wakeAt = dueAfter(e.state, now)
		s.place(e)
	}
}

func (s *Store) claim(w *saga.Work, e *entry, o *owner, now int64) (used int) {
	s.leave(e)
	e.owner, e.wakeAt = o, 0
	e.epoch++
	e.claims++
	e.changes++
	frame := appendText(head{kind: frameClaim, at: now}.append(nil), e.id)
	frame = binary.AppendUvarint(binary.AppendUvarint(frame, e.epoch), uint64(e.claims))
	s.enqueue(frame)
	e.bytes += int64(len(frame))
	s.place(e)
	w.Claimed = append(w.Claimed, e.summary())
	return len(frame)
}

// claimDue claims by due time over all definitions that l can run, as long as
// there is room in the log, and returns what is left of it.
func (s *Store) claimDue(w *saga.Work, l saga.Lease, o *owner, now int64, room int) (left int) {
	var mine []*dueQueue
	for d, q := range s.queues {
		if slices.Contains(l.Can, d.exact) || slices.Contains(l.Can, d.any) {
			mine = append(mine, q)
			continue
		}
		w.Foreign = min(w.Foreign+q.dueBy(now, maxForeign), maxForeign)
	}
	for {
		var first *entry
		for _, q := range mine {
			if len(*q) > 0 && (first == nil || (*q)[0].before(first)) {
				first = (*q)[0]
			}
		}
		if first == nil {
			return room
		}
		wait := time.Duration(first.wakeAt - now)
		if wait > 0 || len(w.Claimed) >= l.Limit || room < claimSize {
			w.Next = max(wait, 0)
			return room
		}
		room -= s.claim(w, first, o, now)
	}
}
