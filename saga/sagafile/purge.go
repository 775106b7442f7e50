package sagafile

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// Purge forgets ended sagas whose last commit is at least olderThan ago, at most
// limit of them, and returns how many. Their ids are free again. Where that leaves
// the oldest files of the log mostly dead, it removes them, after it has written
// again what lives in them. One Purge runs at a time.
func (s *Store) Purge(ctx context.Context, olderThan time.Duration, limit int) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	s.purging.Lock()
	defer s.purging.Unlock()
	n, err := s.purge(ctx, olderThan, limit)
	if err != nil || n == 0 {
		return n, err
	}
	for more := true; more && err == nil; {
		more, err = s.compact(ctx)
	}
	if err != nil {
		err = fmt.Errorf("sagafile: purge: %w", translate(err))
	}
	return n, err
}

// purge forgets page by page, so that nobody waits long for the lock.
func (s *Store) purge(ctx context.Context, olderThan time.Duration, limit int) (n int, err error) {
	for done := false; n < limit && !done; {
		room := min(limit-n, listPage) * claimSize
		if err := s.log.Reserve(ctx, room); err != nil {
			return n, translate(err)
		}
		s.mu.Lock()
		forgotten, used := s.forget(olderThan, min(limit-n, listPage), room)
		tail := s.tail
		s.mu.Unlock()
		s.log.Release(room - used)
		if err := s.wait(ctx, tail); err != nil {
			return n, err
		}
		n += forgotten
		done = forgotten == 0
	}
	return n, nil
}

// forget takes sagas from the front of ended, which is in the order of time. A
// saga that was reversed since stands there again, or will.
func (s *Store) forget(olderThan time.Duration, limit, room int) (n, used int) {
	now := s.now()
	var held []ending
	i := 0
	for ; i < len(s.ended) && n < limit; i++ {
		e := s.ended[i].e
		if s.sagas[e.id] != e || !e.state.Ended() || e.updated != s.ended[i].at {
			continue
		}
		if e.owner != nil {
			held = append(held, s.ended[i])
			continue
		}
		frame := appendText(head{kind: framePurge, at: now}.append(nil), e.id)
		if time.Duration(now-e.updated) < olderThan || used+len(frame) > room {
			break
		}
		s.enqueue(frame)
		used += len(frame)
		s.leave(e)
		delete(s.sagas, e.id)
		n++
	}
	s.ended = append(held, s.ended[i:]...)
	return n, used
}

// compact removes the oldest segment if that costs no more writing than it frees,
// about: if it is mostly dead, or if the log as a whole is.
func (s *Store) compact(ctx context.Context) (done bool, err error) {
	segments := s.log.Segments()
	if len(segments) < 2 {
		return false, nil
	}
	end := segments[1].Base
	size := int64(end - segments[0].Base)
	all := int64(segments[len(segments)-1].Base) + segments[len(segments)-1].Size - int64(segments[0].Base)
	inOldest, cost, live := s.survey(end)
	if cost > size/2 && live > all/2 {
		return false, nil
	}
	for _, id := range inOldest {
		if moved, err := s.rewrite(ctx, id, end); !moved || err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	tail := s.tail
	s.mu.Unlock()
	if err := s.wait(ctx, tail); err != nil {
		return false, err
	}
	return true, s.log.DropBefore(segments[1].First)
}

// survey finds the sagas that have frames before end, and how many bytes these and
// all sagas have.
func (s *Store) survey(end wal.Ref) (before []string, cost, live int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.sagas {
		live += e.bytes
		if e.first < end {
			before = append(before, id)
			cost += e.bytes
		}
	}
	return before, cost, live
}

// pieceSize is how long a frame of records written again gets, about.
const pieceSize = 1 << 20

// rewrite appends a saga again unless its frames all stand at end or behind. A
// saga that changes meanwhile, or is larger than any record, stays for the next time.
func (s *Store) rewrite(ctx context.Context, id string, end wal.Ref) (moved bool, err error) {
	for range 10 {
		s.mu.Lock()
		e := s.sagas[id]
		if e == nil || e.first >= end {
			s.mu.Unlock()
			return true, nil
		}
		changes := e.changes
		s.mu.Unlock()
		_, log, mail, err := s.Load(ctx, id)
		if err != nil {
			if err == saga.ErrNotFound { //nolint:errorlint // Load returns it as it is
				continue
			}
			return false, err
		}
		pieces := encodePieces(log)
		letters := make([][]byte, len(mail))
		room := 0
		for i := range mail {
			letters[i] = appendRecord(appendText(nil, id), &mail[i], mail[i].At.UnixNano())
		}
		for _, b := range slices.Concat(pieces, letters) {
			room += headSize + len(b)
		}
		done, err := s.move(ctx, e, changes, pieces, letters, room)
		if done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// encodePieces cuts a log into frames.
func encodePieces(log []saga.Record) (pieces [][]byte) {
	for len(log) > 0 {
		n, size := 0, 0
		for n < len(log) && (n == 0 || size < pieceSize) {
			size += len(log[n].Data) + len(log[n].Error) + 128
			n++
		}
		b := binary.AppendUvarint(nil, uint64(n))
		for i := range log[:n] {
			b = appendRecord(b, &log[i], log[i].At.UnixNano())
		}
		pieces, log = append(pieces, b), log[n:]
	}
	return pieces
}

// move enqueues the saga's new frames if it is still as it was.
func (s *Store) move(ctx context.Context, e *entry, changes uint32, pieces, letters [][]byte, room int) (done bool, err error) {
	s.mu.Lock()
	room += snapshotSize(e)
	s.mu.Unlock()
	if room > wal.MaxRecord {
		return false, nil
	}
	if err := s.log.Reserve(ctx, room); err != nil {
		return false, err
	}
	used := 0
	defer func() { s.log.Release(room - used) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sagas[e.id] != e || e.changes != changes {
		return false, nil
	}
	put := func(h head, body []byte) wal.Ref {
		used += headSize + len(body)
		return s.enqueue(h.append(nil), body).Ref
	}
	now := s.now()
	var first, prev wal.Ref
	for _, b := range pieces {
		prev = put(head{framePiece, 0, prev, now}, b)
		if first == 0 {
			first = prev
		}
	}
	for i, b := range letters {
		ref := put(head{kind: frameLetter, at: now}, b)
		e.box.unread[i].ref = ref
		if first == 0 {
			first = ref
		}
	}
	e.bytes = int64(used)
	body := appendSnapshot(nil, e, first)
	e.bytes += int64(headSize + len(body))
	e.last = put(head{frameSnapshot, hasDefinition, prev, now}, body)
	e.first = first
	if first == 0 {
		e.first = e.last
	}
	e.changes++
	return true, nil
}

func snapshotSize(e *entry) int { return headSize + len(appendSnapshot(nil, e, 0)) + 64 }

// appendSnapshot encodes all that the store knows of a saga.
func appendSnapshot(b []byte, e *entry, first wal.Ref) []byte {
	sum := e.summary()
	b = appendDefinition(b, &sum)
	b = appendText(b, e.id)
	b = appendState(b, &sum)
	for _, n := range []uint64{e.read, e.mail, uint64(e.claims), uint64(e.started), uint64(e.updated), uint64(e.wakeAt), uint64(e.bytes)} {
		b = binary.AppendUvarint(b, n)
	}
	held := byte(0)
	if e.owner != nil {
		held = 1
	}
	b = append(b, held)
	b = binary.LittleEndian.AppendUint64(b, uint64(first))
	if e.box == nil {
		return append(b, 0, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(e.box.keys)))
	for key := range maps.Keys(e.box.keys) {
		b = appendText(b, key)
	}
	b = binary.AppendUvarint(b, uint64(len(e.box.unread)))
	for _, l := range e.box.unread {
		b = binary.AppendUvarint(b, l.seq)
		b = binary.LittleEndian.AppendUint64(b, uint64(l.ref))
	}
	return b
}

func (s *Store) readSnapshot(d *decoder, h head, ref wal.Ref) *entry {
	var sum saga.Summary
	d.definition(&sum)
	sum.ID = d.text()
	d.state(&sum)
	e := &entry{
		id: sum.ID, def: s.definition(&sum), fingerprint: sum.Fingerprint, epoch: sum.Epoch, seq: sum.Seq,
		read: d.uvarint(), last: ref, place: -1,
	}
	e.set(&sum)
	mail := d.uvarint()
	e.claims, e.started, e.updated, e.wakeAt = int32(d.uvarint()), int64(d.uvarint()), int64(d.uvarint()), int64(d.uvarint())
	e.bytes = int64(d.uvarint()) + int64(headSize+len(d.data))
	e.held = d.byte() == 1
	if e.first = wal.Ref(d.fixed()); e.first == 0 {
		e.first = ref
	}
	for range d.count() {
		e.deliver(0, d.text(), 0)
	}
	if e.box != nil {
		e.box.unread = nil
	}
	for range d.count() {
		e.deliver(d.uvarint(), "", wal.Ref(d.fixed()))
	}
	e.mail = mail
	if d.err != nil {
		return nil
	}
	return e
}
