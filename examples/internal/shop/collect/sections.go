package collect

import (
	"encoding/json"
	"slices"

	"github.com/keelson-go/keelson/cache"
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
	s.addCaches(sections["cache"])
	var groups []messaging.GroupStats
	if read(sections["broker"], &groups) {
		for _, g := range groups {
			s.Broker[g.Topic+"/"+g.Group] = Group{Ready: g.Ready, Delayed: g.Delayed, Dead: g.DeadLettered}
		}
	}
	s.addOutbox(service, sections["outbox"])
	read(sections["shards"], &s.Shards)
	var places map[string]string
	if read(sections["projections"], &places) {
		for name, at := range places {
			s.Projections[service+"/"+name] = at
		}
	}
	var letters int
	if read(sections["dead"], &letters) {
		s.Dead[service] = letters
	}
}

// addCaches reads the caches of each replica: one over L1 and L2, and others that are
// a layer of their own.
func (s *State) addCaches(raw json.RawMessage) {
	var replicas map[string]map[string]json.RawMessage
	if !read(raw, &replicas) {
		return
	}
	for _, caches := range replicas {
		for name, raw := range caches {
			var c cache.Stats
			if name == "store" || !read(raw, &c) { // the store is no cache
				continue
			}
			switch name {
			case "shared": // what L1 does not have is asked of L2, and what that does not have is loaded
				s.addLayer("l1", c.LocalHits, c.LocalMisses, c.StaleServed, c.RemoteHits+c.RemoteMisses)
				s.addLayer("l2", c.RemoteHits, c.RemoteMisses, 0, c.Loads)
			case "local": // L2 is switched off
				s.addLayer("l1", c.LocalHits, c.LocalMisses, c.StaleServed, c.Loads)
			case "distant": // L1 is switched off
				s.addLayer("l2", c.RemoteHits, c.RemoteMisses, c.StaleServed, c.Loads)
			default:
				s.addLayer(name, c.LocalHits, c.LocalMisses, c.StaleServed, c.Loads)
			}
		}
	}
}

func (s *State) addLayer(name string, hits, misses, stale, loads int64) {
	l := s.Cache[name]
	s.Cache[name] = CacheLayer{l.Hits + uint64(hits), l.Misses + uint64(misses), l.Stale + uint64(stale), l.Loads + uint64(loads)}
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
