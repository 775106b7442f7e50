package eventfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/wal"
)

// Checkpoints have a log of their own, in which the last record of a name is the
// checkpoint. Its bytes, numbers little-endian:
//
//	 0  1, or 2 if the checkpoint was deleted
//	 1  position, u64
//	 9  epoch, u64
//	17  length of the name, u16
//	19  name, data
//
// Once three quarters of the log are of no use, what is of use is written again
// behind the rest, and the rest is dropped.
const (
	formatCheckpoints = 'C' | 'K'<<8 | 'P'<<16 | '1'<<24

	checkpointHead   = 19
	kindSaved        = 1
	kindDeleted      = 2
	minimumToCompact = 1 << 20 // bytes; below it, nobody cares
)

// checkpoints is the log of checkpoints with its index.
type checkpoints struct {
	log *wal.Log

	mu      sync.Mutex
	byName  map[string]checkpoint
	total   int64      // bytes of records in the log
	live    int64      // of those, bytes of use
	last    wal.Ticket // of the record enqueued last
	rewrite bool       // is under way
	closed  bool

	background sync.WaitGroup
	stop       chan struct{}
}

// checkpoint is what the index knows of one; the data stays on the disk.
type checkpoint struct {
	position eventsource.Position
	epoch    uint64
	size     int // of the record
	ticket   wal.Ticket
}

func openCheckpoints(dir string, cfg Config, set settings) (*checkpoints, error) {
	c := &checkpoints{byName: map[string]checkpoint{}, stop: make(chan struct{})}
	log, err := wal.Open(wal.Config{
		Dir: dir, Format: formatCheckpoints, SegmentSize: cfg.SegmentSize, NoSync: cfg.NoSync, FS: set.fs,
	}, func(rec wal.Record) error {
		name, cp, saved, err := parseCheckpoint(rec.Data)
		if err != nil {
			return fmt.Errorf("checkpoint record %d: %w", rec.LSN, err)
		}
		c.put(name, checkpoint{
			position: cp.Position, epoch: cp.Epoch, size: len(rec.Data),
			ticket: wal.Ticket{LSN: rec.LSN, Ref: rec.Ref},
		}, saved)
		return nil
	})
	c.log = log
	return c, err
}

func encodeCheckpoint(name string, cp eventsource.Checkpoint, kind byte) []byte {
	b := make([]byte, 0, checkpointHead+len(name)+len(cp.Data))
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(cp.Position))
	b = binary.LittleEndian.AppendUint64(b, cp.Epoch)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	return append(append(b, name...), cp.Data...)
}

// parseCheckpoint decodes a record; Data is a part of it.
func parseCheckpoint(b []byte) (name string, cp eventsource.Checkpoint, saved bool, err error) {
	if len(b) < checkpointHead || (b[0] != kindSaved && b[0] != kindDeleted) {
		return "", cp, false, errRecord
	}
	end := checkpointHead + int(binary.LittleEndian.Uint16(b[17:]))
	if end > len(b) {
		return "", cp, false, errRecord
	}
	cp.Position = eventsource.Position(binary.LittleEndian.Uint64(b[1:]))
	cp.Epoch = binary.LittleEndian.Uint64(b[9:])
	cp.Data = b[end:]
	return string(b[checkpointHead:end]), cp, b[0] == kindSaved, nil
}

// put enters a record into the index. The caller has locked mu.
func (c *checkpoints) put(name string, new checkpoint, saved bool) {
	c.live -= int64(c.byName[name].size)
	c.total += int64(new.size)
	c.last = new.ticket
	if !saved {
		delete(c.byName, name)
		return
	}
	c.live += int64(new.size)
	c.byName[name] = new
}

// LoadCheckpoint implements [eventsource.Checkpoints]. It reads the data from
// the disk.
func (l *Log) LoadCheckpoint(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	if err := l.usable(ctx); err != nil {
		return eventsource.Checkpoint{}, err
	}
	if source, ok := strings.CutPrefix(name, trackPrefix); ok {
		return l.loadTracked(ctx, source)
	}
	return l.checkpoints.load(ctx, name)
}

// trackPrefix is that of the checkpoints which Track writes.
const trackPrefix = "track/"

// loadTracked gives what is durable: Track is part of an append.
func (l *Log) loadTracked(ctx context.Context, source string) (eventsource.Checkpoint, error) {
	l.mu.Lock()
	t := l.tracked[source]
	v := verdict{}
	for i := range l.pending {
		if l.pending[i].ticket.LSN == t.lsn {
			v = l.restingOn(v, i)
		}
	}
	l.mu.Unlock()
	if _, err := v.settle(ctx); err != nil {
		return eventsource.Checkpoint{}, err
	}
	return eventsource.Checkpoint{Position: t.position}, nil
}

func (c *checkpoints) load(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	for {
		c.mu.Lock()
		found, ok := c.byName[name]
		if !ok {
			found.ticket = c.last // which may be the one that deleted it
		}
		c.mu.Unlock()
		if err := found.wait(ctx); err != nil || !ok {
			return eventsource.Checkpoint{}, err
		}
		rec, err := c.log.ReadAt(found.ticket.Ref, nil)
		if err != nil {
			if c.moved(name, found) { // and its old place dropped
				continue
			}
			return eventsource.Checkpoint{}, translate(err)
		}
		_, cp, _, err := parseCheckpoint(rec.Data)
		cp.Data = bytes.Clone(cp.Data)
		return cp, translate(err)
	}
}

func (c *checkpoints) moved(name string, from checkpoint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name].ticket.Ref != from.ticket.Ref
}

// wait returns nil once the checkpoint is durable.
func (p checkpoint) wait(ctx context.Context) error {
	_, err := verdict{ticket: p.ticket}.settle(ctx)
	return err
}

// SaveCheckpoint implements [eventsource.Checkpoints]. It returns when the
// checkpoint is durable; saves that come at the same time share an fsync. There
// are no transactions: what apply did stays done when the checkpoint is fenced.
func (l *Log) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	if err := new.Validate(name); err != nil {
		return err
	}
	if apply != nil {
		if err := apply(ctx); err != nil {
			return err
		}
	}
	return l.checkpoints.replace(ctx, name, old, new)
}

func (c *checkpoints) replace(ctx context.Context, name string, old, new eventsource.Checkpoint) error {
	kind := byte(kindSaved)
	if isZero(new) {
		kind = kindDeleted
	}
	b := encodeCheckpoint(name, new, kind)
	if err := c.log.Reserve(ctx, len(b)); err != nil {
		return translate(err)
	}
	c.mu.Lock()
	now, present := c.byName[name]
	if present == isZero(old) || now.position != old.Position || now.epoch != old.Epoch {
		restsOn := checkpoint{ticket: c.last}
		c.mu.Unlock()
		c.log.Release(len(b))
		if err := restsOn.wait(ctx); err != nil {
			return err
		}
		return fmt.Errorf("%w: checkpoint %q is at position %d, epoch %d", eventsource.ErrFenced, name, now.position, now.epoch)
	}
	ticket := c.log.Enqueue(b)
	c.put(name, checkpoint{position: new.Position, epoch: new.Epoch, size: len(b), ticket: ticket}, kind == kindSaved)
	c.compactIfWorthwhile()
	c.mu.Unlock()
	return translate(ticket.Wait(ctx))
}

func isZero(c eventsource.Checkpoint) bool {
	return c.Position == 0 && c.Epoch == 0 && len(c.Data) == 0
}

// compactIfWorthwhile starts a rewrite. The caller has locked mu.
func (c *checkpoints) compactIfWorthwhile() {
	if c.rewrite || c.closed || c.total < minimumToCompact || c.live > c.total/4 {
		return
	}
	c.rewrite = true
	c.log.Seal()
	before := c.last.LSN + 1
	garbage := c.total
	c.background.Go(func() {
		err := c.compact(before)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rewrite = false
		if err == nil {
			c.total -= garbage
		}
		// An error that matters has poisoned the log and says so at the next
		// save; else it is tried again then.
	})
}

// compact writes every checkpoint again whose record has a number below before,
// and drops those records. A crash on the way leaves some twice, which does no
// harm.
func (c *checkpoints) compact(before wal.LSN) error {
	c.mu.Lock()
	var names []string
	for name, p := range c.byName {
		if p.ticket.LSN < before {
			names = append(names, name)
		}
	}
	c.mu.Unlock()
	for _, name := range names {
		if stopped(c.stop) {
			return eventsource.ErrClosed
		}
		if err := c.move(name, before); err != nil {
			return err
		}
	}
	// What was saved anew meanwhile must be on the disk too, before the record
	// that it replaces goes.
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	if err := last.Wait(context.Background()); err != nil {
		return err
	}
	return c.log.DropBefore(before)
}

// move writes a checkpoint again, unless somebody has saved a newer one.
func (c *checkpoints) move(name string, before wal.LSN) error {
	c.mu.Lock()
	old, ok := c.byName[name]
	c.mu.Unlock()
	if !ok || old.ticket.LSN >= before {
		return nil
	}
	rec, err := c.log.ReadAt(old.ticket.Ref, nil)
	if err != nil {
		return err
	}
	if err := c.log.Reserve(context.Background(), len(rec.Data)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, ok := c.byName[name]; !ok || now.ticket.LSN != old.ticket.LSN {
		c.log.Release(len(rec.Data))
		return nil
	}
	old.ticket = c.log.Enqueue(rec.Data)
	c.put(name, old, true)
	return nil
}

func (c *checkpoints) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.stop)
	err := c.log.Close()
	c.background.Wait()
	return translate(err)
}
