package wal

import (
	"context"
	"fmt"
	"io"
	"runtime"
)

// batch is what one write and one fsync make durable: a mark and its records.
type batch struct {
	base   Ref // address of the mark
	first  LSN // number of the first record
	count  int
	data   int64  // bytes of payload, to be given back as room
	buf    []byte // frames; after the hand-over to the committer only it writes, and only checksums
	begins bool   // is the first of a new segment

	done chan struct{} // closed when durable or failed
	err  error         // set before
}

// failed returns a batch that is done for.
func failed(err error) *batch {
	b := &batch{done: make(chan struct{}), err: err}
	close(b.done)
	return b
}

// last is the number of the last record.
func (b *batch) last() LSN { return b.first + LSN(b.count) - 1 }

// end is the address behind the batch.
func (b *batch) end() Ref { return b.base + Ref(len(b.buf)) }

// seal fills in the mark and all checksums. That is work of the committer, so
// that the lock of Enqueue covers no more than a copy.
func (b *batch) seal(s *segment, durable LSN) {
	mark{uint64(b.count), uint64(len(b.buf) - markSize), durable}.put(b.buf[frameSize:])
	for rest := b.buf; len(rest) > 0; {
		h, _ := parseHead(rest)
		seal(s.seed, rest[:h.size()])
		rest = rest[h.size():]
	}
}

// Ticket stands for a record that was enqueued.
type Ticket struct {
	LSN LSN
	Ref Ref // where it will be, and where Reader finds it already

	batch *batch
}

// Enqueue puts a record, the concatenation of parts, at the end of the log: the
// order of calls is the order of the log. It copies, does no I/O and waits for
// none, so call it under the lock that guards the state which the record rests
// on. The room for it has been reserved, see [Log.Reserve]. About 100 ns and a
// copy; one allocation per batch.
//
// A log that failed or was closed takes no records; the Ticket says so.
func (l *Log) Enqueue(parts ...[]byte) Ticket {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > MaxRecord {
		panic(fmt.Sprintf("wal: Enqueue of %d bytes; allowed: %d", n, MaxRecord)) // Reserve has refused it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil || l.closed {
		return l.refuse(n)
	}
	b := l.openBatch()
	t := Ticket{LSN: l.next, Ref: b.end(), batch: b}
	b.buf = appendHead(b.buf, kindRecord, n, l.next)
	for _, p := range parts {
		b.buf = append(b.buf, p...)
	}
	b.count++
	b.data += int64(n)
	l.next++
	l.end = b.end()
	l.wake.Signal()
	return t
}

func (l *Log) refuse(n int) Ticket {
	l.room.release(int64(n))
	if l.dead != nil {
		return Ticket{batch: l.dead}
	}
	return Ticket{batch: failed(ErrClosed)}
}

// openBatch returns the batch that takes the next record. Where a new one will
// stand in which segment is known as soon as it is made, since only batches
// stand before it whose lengths do not change any more.
func (l *Log) openBatch() *batch {
	if n := len(l.queue); n > 0 && !l.split {
		return l.queue[n-1]
	}
	b := &batch{first: l.next, done: make(chan struct{})}
	// A segment has a record at least: two cannot have one name.
	if l.split || (l.next > l.first && int64(l.end-l.base) >= l.cfg.SegmentSize) {
		b.begins = true
		l.base, l.first = l.end, l.next
		l.end += headerSize
	}
	l.split = false
	b.base = l.end
	b.buf = appendHead(l.spare[:0], kindMark, markSize-frameSize, l.next)
	b.buf = append(b.buf, make([]byte, markSize-frameSize)...)
	l.spare = nil
	l.queue = append(l.queue, b)
	return b
}

// Seal lets the next record begin a new segment, unless this one has no record.
// It does no I/O.
func (l *Log) Seal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.split = l.next > l.first
}

// Wait returns nil when the record is durable. If ctx ends before, the error
// matches ErrUncertain and the cause, and the record will be written all the
// same. Else the error is ErrUncertain, ErrPoisoned or ErrClosed. The zero
// Ticket stands for nothing and waits for nothing.
func (t Ticket) Wait(ctx context.Context) error {
	if t.batch == nil {
		return nil
	}
	select {
	case <-t.batch.done:
		return t.batch.err
	default: // a record that is durable is so, whatever has become of ctx
	}
	select {
	case <-t.batch.done:
		return t.batch.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUncertain, context.Cause(ctx))
	}
}

// commit is the one goroutine that writes, until Close.
func (l *Log) commit() {
	defer close(l.stopped)
	for b := l.take(); b != nil; b = l.take() {
		if err := l.write(b); err != nil {
			l.poison(err)
			continue
		}
		l.publish(b)
	}
}

// take waits for a batch and closes it to Enqueue; nil after Close.
func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.wake.Wait()
	}
	// On one processor nobody runs while this goroutine is in fsync, and woken by the
	// first record it would be there before the second: each batch would hold one. So
	// whoever is ready to enqueue comes first. With more processors the others run
	// meanwhile, and to get in line behind goroutines that compute would cost more.
	if runtime.GOMAXPROCS(0) == 1 {
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
	if len(l.queue) == 0 {
		return nil
	}
	l.flight = l.queue[0]
	l.queue = append(l.queue[:0], l.queue[1:]...)
	return l.flight
}

func (l *Log) write(b *batch) error {
	if b.begins {
		if err := l.begin(b.first, b.base-headerSize); err != nil {
			return err
		}
	}
	b.seal(l.last(), l.synced)
	if err := l.store(b, !l.cfg.NoSync); err != nil {
		return err
	}
	if !l.cfg.NoSync {
		l.synced = b.last()
	}
	return nil
}

// store writes a sealed batch into the last segment.
func (l *Log) store(b *batch, sync bool) error {
	s := l.last()
	n, err := s.file.WriteAt(b.buf, int64(b.base-s.base))
	if err == nil && n < len(b.buf) {
		err = io.ErrShortWrite
	}
	if err == nil && sync {
		err = l.sync(s)
	}
	return err
}

func (l *Log) sync(s *segment) error {
	l.mu.Lock()
	l.stats.Syncs++
	l.mu.Unlock()
	return s.file.Sync()
}

// publish lets everybody know that b is durable.
func (l *Log) publish(b *batch) {
	l.durable.Store(uint64(b.last()))
	l.durableEnd.Store(uint64(b.end()))
	if l.cfg.OnBatch != nil {
		l.cfg.OnBatch(b.last(), nil)
	}
	l.mu.Lock()
	l.flight = nil
	l.stats.Records += uint64(b.count)
	l.stats.Batches++
	if cap(b.buf) <= maxSpare {
		l.spare = b.buf
	}
	l.mu.Unlock()
	l.room.release(b.data)
	close(b.done)
}

// maxSpare keeps one huge record from holding its memory for ever.
const maxSpare = 4 << 20

// poison ends the log: the batch in flight is uncertain, the others, which build
// on it, are not written.
func (l *Log) poison(err error) {
	l.mu.Lock()
	flight, queue := l.flight, l.queue
	flight.err = fmt.Errorf("%w: %w", ErrUncertain, err)
	l.dead = failed(fmt.Errorf("%w: %w", ErrPoisoned, err))
	l.flight, l.queue = nil, nil
	l.stats.Poisoned = err.Error()
	l.mu.Unlock()
	l.room.close(l.dead.err)
	if l.cfg.OnBatch != nil {
		l.cfg.OnBatch(l.Durable(), l.dead.err)
	}
	close(flight.done)
	for _, b := range queue {
		b.err = l.dead.err
		close(b.done)
	}
}
