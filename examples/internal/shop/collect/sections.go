package collect

import (
	"encoding/json"
	"slices"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// tails are the kinds of telemetry of which the page sees the newest only, and how
// many of each are kept.
var tails = map[string]int{"saga": 400, "event": 120, "span": 1200, "log": 200, "cache": 100}

// maxBatch is how many records of a kind go out ten times a second. A page cannot
// show more, and a flash sale must not cost the stream its other frames.
const maxBatch = 150

// tail holds the newest records of a kind.
type tail struct {
	keep    int
	kept    []wire.Record
	pending []wire.Record // not published yet
	dropped uint64
}

// addToTail keeps a record of a kind that is known; others are dropped, since a
// service that is newer than control must not be refused for what it says more.
func (c *Collector) addToTail(rec wire.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tails[rec.Kind]
	if t == nil {
		return
	}
	t.kept = appendBounded(t.kept, rec, t.keep)
	if len(t.pending) == maxBatch {
		t.dropped++
		return
	}
	t.pending = append(t.pending, rec)
}

// publishTails sends what has come since the last time, a frame for each kind.
func (c *Collector) publishTails() {
	for kind := range tails { // each kind is a frame of its own, so their order does not matter
		c.mu.Lock()
		batch := c.tails[kind].pending
		c.tails[kind].pending = nil
		c.mu.Unlock()
		if len(batch) > 0 {
			c.Hub.Publish(kind+"s", batch, false)
		}
	}
}

// Tail returns the newest records of a kind, oldest first.
func (c *Collector) Tail(kind string) []wire.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tails[kind]; t != nil {
		return slices.Clone(t.kept)
	}
	return nil
}

// addSections adds what a service tells besides its calls. What cannot be read is
// left out: a figure that is missing shows as missing.
func (s *State) addSections(service string, sections map[string]json.RawMessage) {
	var sagas struct {
		Sagas
		Unfinished int `json:"unfinished"`
	}
	if read(sections["sagas"], &sagas) {
		s.Sagas.add(sagas.Sagas, sagas.Unfinished)
	}
	var lag map[string]struct {
		Ms float64 `json:"ms"`
	}
	if read(sections["lag"], &lag) {
		for name, l := range lag {
			s.Lag[name] = max(s.Lag[name], l.Ms) // of several replicas the one that is furthest behind
		}
	}
	var layers map[string]CacheLayer
	if read(sections["cache"], &layers) {
		for name, l := range layers {
			sum := s.Cache[name]
			s.Cache[name] = CacheLayer{sum.Hits + l.Hits, sum.Misses + l.Misses, sum.Stale + l.Stale, sum.Loads + l.Loads}
		}
	}
	var groups []messaging.GroupStats
	if read(sections["broker"], &groups) {
		for _, g := range groups {
			s.Broker[g.Topic+"/"+g.Group] = Group{Ready: g.Ready, Delayed: g.Delayed, Dead: g.DeadLettered}
		}
	}
	s.addOutbox(service, sections["outbox"])
}

// addOutbox reads a number, or one for each topic.
func (s *State) addOutbox(service string, raw json.RawMessage) {
	var n uint64
	var topics map[string]uint64
	switch {
	case read(raw, &n):
		s.Outbox[service] += n
	case read(raw, &topics):
		s.Outbox[service] += 0 // known to be empty is not the same as unknown
		for _, n := range topics {
			s.Outbox[service] += n
		}
	}
}

func read(raw json.RawMessage, v any) bool {
	return len(raw) > 0 && json.Unmarshal(raw, v) == nil
}

// add sums. Unfinished ones that a service does not tell apart count as waiting.
func (s *Sagas) add(o Sagas, unfinished int) {
	s.Running += o.Running
	s.Compensating += o.Compensating
	s.Waiting += max(o.Waiting, unfinished-o.Running-o.Compensating)
	s.Stuck += o.Stuck
	s.Completed += o.Completed
	s.Compensated += o.Compensated
	s.Abandoned += o.Abandoned
	s.OldestMs = max(s.OldestMs, o.OldestMs)
}
