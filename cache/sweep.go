package cache

// A broom finds entries past their life without a timer or a goroutine: inserts
// move it round main, two entries each on average, so that all are seen while half
// as many come in. It rests while nobody can have expired.
type broom struct {
	at      int   // in main
	due     int64 // no box of the shard has an earlier soon
	next    int64 // the same for those that this round has seen
	now     int64 // the clock as of the last look
	inserts int   // since then
}

const (
	// sweepEvery is how many inserts share one look at the clock.
	sweepEvery = 16
	sweeps     = 2 * sweepEvery
)

func newBroom() broom { return broom{due: never, next: never} }

// note keeps due and next true for a box that comes in.
func (b *broom) note(soon int64) {
	b.due, b.next = min(b.due, soon), min(b.next, soon)
}

// sweep removes what it finds expired. An insert calls it before it makes room.
func (s *shard[K, V]) sweep(out *removed[K, V]) {
	b := &s.broom
	if b.inserts++; b.inserts < sweepEvery || s.dead == nil || b.due >= never {
		return
	}
	b.inserts, b.now = 0, s.now()
	for range sweeps {
		if b.now < b.due || s.main.n == 0 {
			return
		}
		if b.at >= s.main.n {
			s.round()
			continue
		}
		e := s.main.at[b.at]
		if last := e.box.Load(); s.isDead(last) && s.expire(e, last, out) {
			continue
		}
		b.next = min(b.next, e.box.Load().soon)
		b.at++
	}
}

// round begins at the front again, knowing the earliest deadline of main. Whoever
// comes from the window or moves within main is noted again.
func (s *shard[K, V]) round() {
	b := &s.broom
	b.at, b.due, b.next = 0, b.next, never
}

// isDead tells whether b was past its life at the last look at the clock.
func (s *shard[K, V]) isDead(b *box[V]) bool {
	now := s.broom.now
	return s.dead != nil && now >= s.broom.due && b.soon <= now && s.dead(b, now)
}

// expire removes e with its last box, or reports false if a Set without the lock
// has put another one there.
func (s *shard[K, V]) expire(e *entry[K, V], last *box[V], out *removed[K, V]) bool {
	if !e.fused() && !e.box.CompareAndSwap(last, s.grave) {
		return false
	}
	s.dequeue(e)
	s.discard(e, last, expired, out)
	return true
}
