package messagingkafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type partition struct {
	topic string
	n     int32
}

// entry is one message that a member holds.
type entry struct {
	record *kgo.Record
	from   *progress
	acked  bool
}

// progress is what was handed out of a partition, in the order of offsets. The
// unbroken prefix of acknowledged messages is cut off and becomes the offset to
// commit.
type progress struct {
	of    partition
	held  []*entry
	next  kgo.EpochOffset // behind the prefix; Offset 0: nothing yet
	dirty bool            // not committed
	gone  bool            // revoked or lost
	idle  chan struct{}   // closed when nothing runs any more, if somebody waits
}

func (m *member) assigned(all map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, list := range all {
		for _, n := range list {
			p := partition{topic, n}
			m.partitions[p] = &progress{of: p}
		}
	}
}

// admit notes a record, nil if its partition is not this member's any more.
func (m *member) admit(r *kgo.Record) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.partitions[partition{r.Topic, r.Partition}]
	if p == nil {
		return nil
	}
	e := &entry{record: r, from: p}
	p.held = append(p.held, e)
	return e
}

// acknowledge moves the prefix.
func (m *member) acknowledge(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.acked = true
	p := e.from
	for len(p.held) > 0 && p.held[0].acked {
		r := p.held[0].record
		p.held[0] = nil
		p.held = p.held[1:]
		p.next = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
		p.dirty = true
	}
	if p.idle != nil {
		select {
		case p.idle <- struct{}{}:
		default:
		}
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// offsets are those to commit, of all partitions or of some.
func (m *member) offsets(only map[*progress]bool) map[string]map[int32]kgo.EpochOffset {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]map[int32]kgo.EpochOffset{}
	add := func(p *progress) {
		if !p.dirty {
			return
		}
		p.dirty = false
		if all[p.of.topic] == nil {
			all[p.of.topic] = map[int32]kgo.EpochOffset{}
		}
		all[p.of.topic][p.of.n] = p.next
	}
	if only != nil {
		for p := range only {
			add(p)
		}
		return all
	}
	for _, p := range m.partitions {
		add(p)
	}
	return all
}

// commitNow returns when the cluster has the offsets of some partitions, nil for
// all. One at a time: an older commit that arrived after a newer one would move the
// group back. Those that the cluster refuses are sent again with the next.
func (m *member) commitNow(ctx context.Context, only map[*progress]bool) (err error) {
	select {
	case m.committing <- struct{}{}:
		defer func() { <-m.committing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	offsets := m.offsets(only)
	if len(offsets) == 0 {
		return nil
	}
	m.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, e error) {
		if err = e; err != nil || resp == nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					err = e
				}
			}
		}
	})
	if err != nil {
		m.again(offsets)
	}
	return err
}

// again marks offsets that were not committed.
func (m *member) again(offsets map[string]map[int32]kgo.EpochOffset) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, list := range offsets {
		for n := range list {
			if p := m.partitions[partition{topic, n}]; p != nil {
				p.dirty = true
			}
		}
	}
}

// onRevoke tells tests that a partition is about to go.
var onRevoke func()

// revoked lets partitions go: what has not begun is dropped, what runs is waited
// for, and what is acknowledged then is committed before the next owner reads.
func (m *member) revoked(ctx context.Context, all map[string][]int32) {
	leaving := m.remove(all)
	if len(leaving) == 0 {
		return
	}
	m.queue.Drop(func(e *entry) bool { return leaving[e.from] })
	limit := time.NewTimer(letGo)
	defer limit.Stop()
	woken := make(chan struct{}, 1)
	m.mu.Lock()
	for p := range leaving {
		p.idle = woken
	}
	m.mu.Unlock()
	if onRevoke != nil {
		onRevoke()
	}
	for waiting := true; waiting && m.running(leaving); {
		select {
		case <-woken:
		case <-time.After(10 * time.Millisecond): // one that fails leaves without a sign
			m.queue.Drop(func(e *entry) bool { return leaving[e.from] })
		case <-limit.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	_ = m.commitNow(ctx, leaving) // else the next owner repeats them
}

// lost: another owns the partitions already.
func (m *member) lost(all map[string][]int32) {
	leaving := m.remove(all)
	m.queue.Drop(func(e *entry) bool { return leaving[e.from] })
}

func (m *member) remove(all map[string][]int32) map[*progress]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	leaving := map[*progress]bool{}
	for topic, list := range all {
		for _, n := range list {
			if p := m.partitions[partition{topic, n}]; p != nil {
				p.gone = true
				leaving[p] = true
				delete(m.partitions, p.of)
			}
		}
	}
	return leaving
}

// running tells whether a handler has a message of these partitions.
func (m *member) running(leaving map[*progress]bool) bool {
	return m.queue.Runs(func(e *entry) bool { return leaving[e.from] })
}
