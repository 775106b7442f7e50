package cache

import "sync/atomic"

// A policy decides who stays. New entries pass through a window, first in first
// out; who comes to its end meets the victim of the main queue, and the one that
// the sketch has seen less often leaves. The main queue is a CLOCK: its hand
// passes over entries that were read since it last came by. Reads only count in
// the entry; the sketch learns of them when the hand or the end of the window
// passes. So a hit costs one store at most and the policy needs no buffers.
//
// This is W-TinyLFU (Einziger et al., "Adaptive Software Cache Management",
// Middleware 2018) with the two LRU lists replaced by what a reader without a lock
// can feed.
type policy[K comparable, V any] struct {
	maxWeight int64
	broom     broom // here ends a cache line, see shard

	hand    int // in main: where CLOCK looks for a victim
	window  window[K, V]
	climber climber
	sketch  sketch
	main    ring[K, V]

	maxEntries int
	dead       func(*box[V], int64) bool
	now        func() int64
	draw       func() uint64
}

const (
	// handSteps bounds how far the hand goes for one eviction. Beyond, it takes who
	// was read as well: all others it saw were, too.
	handSteps = 256

	// A candidate that lost wins nonetheless, once in so many times, if it was seen
	// warm times: else somebody who makes its counters collide with those of a
	// popular victim keeps it out for ever.
	pardon = 128
	warm   = 6
)

func (p *policy[K, V]) init(c tableConfig[K, V]) {
	p.maxEntries, p.maxWeight = c.maxEntries, c.maxWeight
	p.dead, p.now, p.draw = c.dead, c.now, c.draw
	p.clear()
}

func (p *policy[K, V]) clear() {
	p.window, p.main = window[K, V]{}, ring[K, V]{}
	p.hand, p.broom = 0, newBroom()
	p.sketch, p.climber = sketch{}, newClimber()
}

// admit puts e, which is in no queue, into the window, and lets those at its end
// go on to main where they need not fight for it.
func (s *shard[K, V]) admit(e *entry[K, V], weight int64) {
	s.window.push(e, weight, s.weighs(), s.windowMost())
	// Two at a time: when the climber makes the window smaller, no single insert
	// should pay for all of it.
	for i := 0; i < 2 && s.window.n > 1 && s.crowded(0, 0); i++ {
		first, weight := s.window.pop()
		s.sighted(first)
		s.main.push(first, weight, s.weighs(), s.maxEntries)
		s.broom.note(first.box.Load().soon)
	}
}

func (p *policy[K, V]) weighs() bool { return p.maxWeight > 0 }

// crowded tells whether the window would hold more than its share.
func (p *policy[K, V]) crowded(entries int, weight int64) bool {
	return p.maxEntries > 0 && p.window.n+entries > p.windowMost() ||
		p.weighs() && p.window.total+weight > int64(p.climber.share*float64(p.maxWeight))
}

// windowMost is the window's share of the entries, at least one.
func (p *policy[K, V]) windowMost() int {
	return max(1, int(p.climber.share*float64(p.maxEntries)))
}

// makeRoom evicts until so much more fits in.
func (s *shard[K, V]) makeRoom(entries int, weight int64, out *removed[K, V]) {
	for s.maxEntries > 0 && s.entries+entries > s.maxEntries ||
		weight > s.maxWeight-s.weight.Load() {
		s.evict(entries, weight, out)
	}
}

// evict removes one entry, the worse of the window's oldest and main's victim.
func (s *shard[K, V]) evict(entries int, weight int64, out *removed[K, V]) {
	s.learn()
	var candidate *entry[K, V]
	if s.main.n == 0 || s.window.n > 0 && s.crowded(entries, weight) {
		candidate, weight = s.window.pop()
		s.sighted(candidate)
	}
	if s.main.n == 0 {
		s.leave(candidate, weight, out)
		return
	}
	i := s.victim()
	victim, victimWeight := s.main.at[i], s.main.weight(i)
	if candidate != nil && !s.beats(candidate, victim) {
		s.leave(candidate, weight, out)
		return
	}
	if candidate != nil {
		s.main.set(i, candidate, weight, 0)
		s.broom.note(candidate.box.Load().soon)
		s.hand++
	} else {
		s.removeMain(i)
	}
	s.leave(victim, victimWeight, out)
}

// leave discards e, which is in no queue any more.
func (s *shard[K, V]) leave(e *entry[K, V], weight int64, out *removed[K, V]) {
	s.account(-1, -weight)
	last, why := s.bury(e), evicted
	if s.isDead(last) {
		why = expired
	}
	s.discard(e, last, why, out)
}

// beats tells whether the candidate of the window takes the victim's place.
func (s *shard[K, V]) beats(candidate, victim *entry[K, V]) bool {
	if s.isDead(victim.box.Load()) {
		return true
	}
	theirs, ours := s.sketch.estimate(victim.hash), s.sketch.estimate(candidate.hash)
	return ours > theirs || ours >= warm && s.draw()%pardon == 0
}

// victim turns the hand to an entry that was not read since it last passed, or as
// far as one insert may: the mutex is held, and readers go on reading.
func (s *shard[K, V]) victim() int {
	for range handSteps {
		if s.hand >= s.main.n {
			s.hand = 0
		}
		e := s.main.at[s.hand]
		if e.loadHits()&maxHits == 0 || s.isDead(e.box.Load()) {
			return s.hand
		}
		s.harvest(e)
		s.hand++
	}
	if s.hand >= s.main.n {
		s.hand = 0
	}
	return s.hand
}

// harvest takes the reads that e has counted to the sketch.
func (p *policy[K, V]) harvest(e *entry[K, V]) {
	if n := p.reads(e); n > 0 && p.sketch.size > 0 {
		p.sketch.add(e.hash, n)
	}
}

// sighted is harvest at the end of the window, where the sketch also learns that e
// came: it is about to be asked for e, and looks at the same cache line.
func (p *policy[K, V]) sighted(e *entry[K, V]) {
	if n := p.reads(e); p.sketch.size > 0 {
		p.sketch.add(e.hash, n+1)
	}
}

// reads takes those that e has counted.
func (p *policy[K, V]) reads(e *entry[K, V]) uint64 {
	all := e.loadHits()
	n := all & maxHits
	if n > 0 {
		atomic.StoreUint32(&e.hits, all-n)
		p.climber.hits += int(n)
	}
	return uint64(n)
}

// learn keeps sketch and climber going. The sketch is made when somebody has to
// leave for the first time, and knows that everybody in main was seen once.
func (s *shard[K, V]) learn() {
	n := s.maxEntries
	if n == 0 {
		n = s.entries
	}
	if s.sketch.size < n && (s.sketch.size == 0 || 2*s.sketch.size <= n) {
		s.sketch = newSketch(n)
		for i := range s.main.n {
			s.sketch.add(s.main.at[i].hash, 1)
		}
	}
	s.climber.missed(n)
}

// unlink takes e out of its queue.
func (s *shard[K, V]) unlink(e *entry[K, V]) {
	if e.pos&inWindow != 0 {
		s.window.remove(int(e.pos & place))
	} else {
		s.removeMain(int(e.pos & place))
	}
}

// removeMain lets the last of main move to i, perhaps behind the broom.
func (s *shard[K, V]) removeMain(i int) {
	s.main.remove(i)
	if i < s.main.n {
		s.broom.note(s.main.at[i].box.Load().soon)
	}
}

func (s *shard[K, V]) weightOf(e *entry[K, V]) int64 {
	if e.pos&inWindow != 0 {
		return s.window.weight(int(e.pos & place))
	}
	return s.main.weight(int(e.pos & place))
}

// setWeight notes that e weighs more or less than before.
func (s *shard[K, V]) setWeight(e *entry[K, V], weight int64) {
	if e.pos&inWindow != 0 {
		i := int(e.pos & place)
		s.window.total += weight - s.window.weight(i)
		s.window.set(i, e, weight, inWindow)
	} else {
		s.main.set(int(e.pos&place), e, weight, 0)
	}
}
