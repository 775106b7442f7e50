package sagafile

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// Post implements [saga.Store].
func (s *Store) Post(ctx context.Context, id string, r saga.Record) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	// Seq is not known before the lock and takes up to ten bytes.
	most := r
	most.Seq = 1<<64 - 1
	size := headSize + len(appendRecord(appendText(nil, id), &most, 0))
	if err := s.log.Reserve(ctx, size); err != nil {
		return translate(err)
	}
	s.mu.Lock()
	used, err := s.post(id, r)
	tail := s.tail
	s.mu.Unlock()
	s.log.Release(size - used)
	if durable := s.wait(ctx, tail); durable != nil {
		return durable
	}
	return err
}

func (s *Store) post(id string, r saga.Record) (used int, err error) {
	e := s.sagas[id]
	switch {
	case e == nil:
		return 0, saga.ErrNotFound
	case e.knows(r.Key):
		return 0, nil
	case e.state.Ended():
		return 0, saga.ErrTerminal
	case e.unread() >= maxUnread:
		return 0, fmt.Errorf("%w: %s has %d unread messages", saga.ErrConflict, id, e.unread())
	}
	now := s.now()
	r.Seq = e.mail + 1
	frame := appendRecord(appendText(head{kind: framePost, at: now}.append(nil), id), &r, 0)
	t := s.enqueue(frame)
	e.deliver(r.Seq, r.Key, t.Ref)
	e.bytes += int64(len(frame))
	e.changes++
	if e.owner != nil {
		e.owner.mail[e] = struct{}{}
	} else if e.state != saga.Stuck {
		s.leave(e)
		e.wakeAt = now
		s.place(e)
	}
	return len(frame), nil
}

// Load implements [saga.Store]. It reads the saga's frames from the disk, newest
// first, with no lock held.
func (s *Store) Load(ctx context.Context, id string) (saga.Summary, []saga.Record, []saga.Record, error) {
	for {
		if err := s.ready(ctx); err != nil {
			return saga.Summary{}, nil, nil, err
		}
		c, ok := s.copy(id)
		if err := s.wait(ctx, c.tail); err != nil {
			return saga.Summary{}, nil, nil, err
		}
		if !ok {
			return saga.Summary{}, nil, nil, saga.ErrNotFound
		}
		log, mail, err := s.read(c)
		if err == nil {
			return c.sum, log, mail, nil
		}
		if !s.moved(id, c) {
			return saga.Summary{}, nil, nil, fmt.Errorf("sagafile: load %s: %w", id, translate(err))
		}
	}
}

// copied is a saga as it was under the lock.
type copied struct {
	sum     saga.Summary
	first   wal.Ref
	last    wal.Ref
	letters []letter
	tail    wal.Ticket
}

func (s *Store) copy(id string) (c copied, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.tail = s.tail
	e := s.sagas[id]
	if e == nil {
		return c, false
	}
	c.sum, c.first, c.last = e.summary(), e.first, e.last
	if e.box != nil {
		c.letters = slices.Clone(e.box.unread)
	}
	return c, true
}

// moved: the frames that c names were written again, or forgotten.
func (s *Store) moved(id string, c copied) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sagas[id]
	return e == nil || e.first != c.first
}

func (s *Store) read(c copied) (log, mail []saga.Record, err error) {
	var parts [][]saga.Record
	var buf []byte
	for ref := c.last; ref != 0; {
		r, err := s.log.ReadAt(ref, buf)
		if err != nil {
			return nil, nil, err
		}
		d := &decoder{data: r.Data}
		h := d.head()
		switch h.kind {
		case frameWrite:
			d.write(h.flags)
			parts = append(parts, d.records(h.at))
		case framePiece:
			parts = append(parts, d.records(h.at))
		case frameSnapshot:
		default:
			d.fail()
		}
		if d.err != nil {
			return nil, nil, d.err
		}
		ref, buf = h.prev, r.Data[:0]
	}
	for _, part := range slices.Backward(parts) {
		log = append(log, part...)
	}
	for _, l := range c.letters {
		r, err := s.log.ReadAt(l.ref, buf)
		if err != nil {
			return nil, nil, err
		}
		d := &decoder{data: r.Data}
		h := d.head()
		d.bytes() // id
		mail = append(mail, d.record(h.at))
		if d.err != nil {
			return nil, nil, d.err
		}
	}
	name(c.sum, log)
	name(c.sum, mail)
	return log, mail, nil
}

func name(sum saga.Summary, records []saga.Record) {
	for i := range records {
		records[i].Saga, records[i].Name = sum.ID, sum.Name
	}
}

// listPage is how many sagas List looks at before it lets go of the lock.
const listPage = 512

// List implements [saga.Store]. It sorts all ids at its beginning unless Filter.IDs
// is set.
func (s *Store) List(ctx context.Context, f saga.Filter) iter.Seq2[saga.Summary, error] {
	return func(yield func(saga.Summary, error) bool) {
		n := 0
		for page := range slices.Chunk(s.candidates(f), listPage) {
			found, tail := s.match(page, f)
			err := s.ready(ctx)
			if err == nil && len(found) > 0 {
				err = s.wait(ctx, tail)
			}
			if err != nil {
				yield(saga.Summary{}, err)
				return
			}
			for _, sum := range found {
				if ctx.Err() != nil {
					yield(saga.Summary{}, context.Cause(ctx))
					return
				}
				if n++; !yield(sum, nil) || n == f.Limit {
					return
				}
			}
		}
		if n == 0 {
			if err := s.ready(ctx); err != nil {
				yield(saga.Summary{}, err)
			}
		}
	}
}

func (s *Store) candidates(f saga.Filter) (all []string) {
	if len(f.IDs) > 0 {
		all = slices.Clone(f.IDs)
	} else {
		s.mu.Lock()
		all = slices.Collect(maps.Keys(s.sagas))
		s.mu.Unlock()
	}
	slices.Sort(all)
	all = slices.Compact(all)
	after, found := slices.BinarySearch(all, f.After)
	if found {
		after++
	}
	return all[after:]
}

func (s *Store) match(page []string, f saga.Filter) (out []saga.Summary, tail wal.Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, id := range page {
		e := s.sagas[id]
		if e != nil &&
			(len(f.Names) == 0 || slices.Contains(f.Names, e.def.name)) &&
			(len(f.States) == 0 || slices.Contains(f.States, e.state)) &&
			(f.Idle <= 0 || time.Duration(now-e.updated) >= f.Idle) {
			out = append(out, e.summary())
		}
	}
	return out, s.tail
}
