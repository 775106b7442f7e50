package cache

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// stamps are what a node knows of generations. Clear and InvalidateTags raise the
// Remote's counter and stamp with it; what was loaded while the counter stood at g
// is dead if Clear or one of its tags has a stamp above g. So an invalidation
// costs the same for one entry and for a million, and reaches values whose loads
// are still running. Without a Remote the counter is the node's own.
type stamps struct {
	generation atomic.Uint64 // the highest value of the counter seen
	seq        atomic.Uint64 // of changes below; written under mu

	mu    sync.RWMutex
	tags  map[string]uint64
	clear uint64

	// What was invalidated here and not yet acknowledged counts as stamped later
	// than everything.
	heldTags  map[string]struct{}
	heldClear bool

	// Stamps above horizon are all in tags. What is older and was looked at before
	// change number since has to be asked about.
	horizon, since uint64

	// complete: Clear and horizon are known since the last gap. live: the bus
	// delivers in time.
	complete, live bool
}

// maxStamps bounds the memory of tags; the older half is forgotten.
const maxStamps = 1 << 16

// A fate is what the stamps say of an entry with tags.
type fate uint8

const (
	alive fate = iota
	outdated
	forgotten // the stamps that could tell are not here
)

// fate judges an entry of L1. If nothing has changed since the last time that
// costs two loads.
func (s *stamps) fate(m *meta) fate {
	if m.verified.Load() == s.seq.Load() {
		return alive
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fencedLocked(m.generation, m.tags) {
		return outdated
	}
	if m.generation < s.horizon && m.verified.Load() < s.since {
		return forgotten
	}
	m.verified.Store(s.seq.Load())
	return alive
}

// fenced tells whether a known stamp is later than generation.
func (s *stamps) fenced(generation uint64, tags []string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.fencedLocked(generation, tags)
}

func (s *stamps) fencedLocked(generation uint64, tags []string) bool {
	if s.heldClear || s.clear > generation {
		return true
	}
	return slices.ContainsFunc(tags, func(tag string) bool {
		_, held := s.heldTags[tag]
		return held || s.tags[tag] > generation
	})
}

// mustAsk tells whether only the Remote can judge a record.
func (s *stamps) mustAsk(generation uint64, tags []string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.complete || !s.live || len(tags) > 0 && generation < s.horizon
}

// known tells whether records without tags can be judged without asking.
func (s *stamps) known() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.complete && s.live
}

func (s *stamps) isComplete() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.complete
}

// observe notes a value of the counter.
func (s *stamps) observe(generation uint64) {
	for {
		seen := s.generation.Load()
		if generation <= seen || s.generation.CompareAndSwap(seen, generation) {
			return
		}
	}
}

// stamp notes an invalidation of tags, or Clear, at generation. Stamps never go
// back.
func (s *stamps) stamp(tags []string, clear bool, generation uint64) {
	s.observe(generation)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tag := range tags {
		s.tags[tag] = max(s.tags[tag], generation)
	}
	if clear {
		s.clear = max(s.clear, generation)
	}
	if len(s.tags) > maxStamps {
		s.forget()
	}
	s.seq.Add(1)
}

// forget drops the older half of the stamps and raises the horizon above them.
func (s *stamps) forget() {
	all := make([]uint64, 0, len(s.tags))
	for _, g := range s.tags {
		all = append(all, g)
	}
	slices.Sort(all)
	middle := all[len(all)/2]
	for tag, g := range s.tags {
		if g <= middle {
			delete(s.tags, tag)
		}
	}
	s.horizon = max(s.horizon, middle)
	s.since = s.seq.Load() + 1
}

// hold makes tags, or everything, count as stamped later than all, until holdOnly.
func (s *stamps) hold(tags []string, clear bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tag := range tags {
		s.heldTags[tag] = struct{}{}
	}
	s.heldClear = s.heldClear || clear
	s.seq.Add(1)
}

// holdOnly ends all holds but these.
func (s *stamps) holdOnly(tags map[string]uint64, clear bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tag := range s.heldTags {
		if _, ok := tags[tag]; !ok {
			delete(s.heldTags, tag)
		}
	}
	s.heldClear = clear
	s.seq.Add(1)
}

// gap forgets what is known of stamps: some have been missed.
func (s *stamps) gap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete = false
	s.horizon = math.MaxUint64
	s.since = s.seq.Add(1)
}

// setLive notes whether the bus delivers in time.
func (s *stamps) setLive(live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}

// learn takes in what the Remote said. It ends a gap if the question was asked
// behind it, when the number of changes was at least asked, and the bus delivers
// all that comes later.
func (s *stamps) learn(g Generations, asked uint64) {
	s.observe(g.Now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear = max(s.clear, g.Clear)
	if !s.complete && s.live && asked >= s.since {
		s.complete = true
		s.horizon = g.Now
	}
}
