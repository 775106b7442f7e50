package cache

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
	maxEntries int
	maxWeight  int64
	dead       func(*box[V], int64) bool
	now        func() int64
	draw       func() uint64

	window  window[K, V]
	main    ring[K, V]
	hand    int // in main: where CLOCK looks for a victim
	broom   int // in main: where sweep looks for the expired
	sketch  sketch
	climber climber
}

const (
	// sweeps is how many entries an insert looks at for expired ones. So all are
	// seen while half as many come in, without a timer or a goroutine.
	sweeps = 2

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
	p.hand, p.broom = 0, 0
	p.sketch, p.climber = sketch{}, newClimber()
}

// admit puts e, which is in no queue, into the window, and lets those at its end
// go on to main where they need not fight for it.
func (s *shard[K, V]) admit(e *entry[K, V], weight int64) {
	s.window.push(e, weight, s.weighs(), s.windowMost())
	if s.sketch.size > 0 {
		s.sketch.add(e.hash, 1)
	}
	// Two at a time: when the climber makes the window smaller, no single insert
	// should pay for all of it.
	for i := 0; i < 2 && s.window.n > 1 && s.crowded(0, 0); i++ {
		first, weight := s.window.pop()
		s.harvest(first)
		s.main.push(first, weight, s.weighs(), s.maxEntries)
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
	for s.maxEntries > 0 && int(s.count.Load())+entries > s.maxEntries ||
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
		s.harvest(candidate)
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
		s.hand++
	} else {
		s.main.remove(i)
	}
	s.leave(victim, victimWeight, out)
}

// leave discards e, which is in no queue any more.
func (s *shard[K, V]) leave(e *entry[K, V], weight int64, out *removed[K, V]) {
	s.account(-1, -weight)
	why := evicted
	if s.isDead(e) {
		why = expired
	}
	s.discard(e, why, out)
}

// beats tells whether the candidate of the window takes the victim's place.
func (p *policy[K, V]) beats(candidate, victim *entry[K, V]) bool {
	if p.isDead(victim) {
		return true
	}
	theirs, ours := p.sketch.estimate(victim.hash), p.sketch.estimate(candidate.hash)
	return ours > theirs || ours >= warm && p.draw()%pardon == 0
}

// victim turns the hand to an entry that was not read since it last passed.
func (p *policy[K, V]) victim() int {
	for {
		if p.hand >= p.main.n {
			p.hand = 0
		}
		e := p.main.at[p.hand]
		if e.hits.Load() == 0 || p.isDead(e) {
			return p.hand
		}
		p.harvest(e)
		p.hand++
	}
}

// harvest takes the reads that e has counted to the sketch.
func (p *policy[K, V]) harvest(e *entry[K, V]) {
	n := e.hits.Load()
	if n == 0 {
		return
	}
	e.hits.Store(0)
	if p.sketch.size > 0 {
		p.sketch.add(e.hash, uint64(n))
	}
	p.climber.hits += int(n)
}

// learn keeps sketch and climber going. The sketch is made when somebody has to
// leave for the first time, and knows that everybody was seen once.
func (s *shard[K, V]) learn() {
	n := s.maxEntries
	if n == 0 {
		n = int(s.count.Load())
	}
	if s.sketch.size < n && (s.sketch.size == 0 || 2*s.sketch.size <= n) {
		s.sketch = newSketch(n)
		for i := range s.main.n {
			s.sketch.add(s.main.at[i].hash, 1)
		}
		for i := range s.window.n {
			s.sketch.add(s.window.at[s.window.cell(i)].hash, 1)
		}
	}
	s.climber.missed(n)
}

// sweep removes what it finds expired under the broom.
func (s *shard[K, V]) sweep(out *removed[K, V]) {
	for range min(sweeps, s.main.n) {
		if s.broom >= s.main.n {
			s.broom = 0
		}
		if e := s.main.at[s.broom]; s.isDead(e) {
			s.remove(e, expired, out)
		} else {
			s.broom++
		}
	}
}

// isDead reads the clock only if there is a deadline to compare it with.
func (p *policy[K, V]) isDead(e *entry[K, V]) bool {
	if p.dead == nil {
		return false
	}
	b := e.box.Load()
	if b.soon >= never {
		return false
	}
	now := p.now()
	return b.soon <= now && p.dead(b, now)
}

// unlink takes e out of its queue.
func (s *shard[K, V]) unlink(e *entry[K, V]) {
	if e.pos&inWindow != 0 {
		s.window.remove(int(e.pos &^ inWindow))
	} else {
		s.main.remove(int(e.pos))
	}
}

func (s *shard[K, V]) weightOf(e *entry[K, V]) int64 {
	if e.pos&inWindow != 0 {
		return s.window.weight(int(e.pos &^ inWindow))
	}
	return s.main.weight(int(e.pos))
}

// setWeight notes that e weighs more or less than before.
func (s *shard[K, V]) setWeight(e *entry[K, V], weight int64) {
	if e.pos&inWindow != 0 {
		i := int(e.pos &^ inWindow)
		s.window.total += weight - s.window.weight(i)
		s.window.set(i, e, weight, inWindow)
	} else {
		s.main.set(int(e.pos), e, weight, 0)
	}
}
