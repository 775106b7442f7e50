package hedge

import "time"

// The delay is one time.AfterFunc timer per call, armed again after each start.
// Its function runs on a goroutine of its own, which becomes that of the extra
// attempt: until an extra attempt is due there is no goroutine at all.

// begin arms the timer, or starts everything at once.
func (r *race[T]) begin() {
	if r.policy.max() == 0 {
		return
	}
	if r.policy.delay() >= 0 {
		r.mu.Lock()
		r.arm()
		r.mu.Unlock()
		return
	}
	for {
		index := r.more(nil)
		if index < 0 {
			return
		}
		// In the books before it starts: the primary must find it there.
		r.mu.Lock()
		r.running++
		r.others++
		r.mu.Unlock()
		go r.extra(index)
	}
}

// arm starts the delay afresh if an extra attempt may follow. A delay that
// reaches the deadline arms nothing. r.mu is held.
func (r *race[T]) arm() {
	delay := r.policy.delay()
	r.disarm()
	if r.slots > r.policy.max() || r.denied || delay < 0 {
		return
	}
	if deadline, ok := r.ctx.Deadline(); ok && delay >= time.Until(deadline) {
		return // the attempt would be cancelled when it starts
	}
	r.armed = true
	r.others++
	if r.timer == nil {
		r.timer = time.AfterFunc(delay, r.fire)
	} else {
		r.timer.Reset(delay)
	}
}

// disarm stops the timer. If it has fired, its goroutine is on its way and will
// find that it is stale. r.mu is held.
func (r *race[T]) disarm() {
	if !r.armed {
		return
	}
	r.armed = false
	if r.timer.Stop() {
		r.others--
	} else {
		r.stale++
	}
}

// fire is the timer's function.
func (r *race[T]) fire() {
	r.mu.Lock()
	if r.stale > 0 {
		r.stale--
		r.gone()
		r.mu.Unlock()
		return
	}
	r.armed = false
	r.running++
	r.mu.Unlock()
	r.extra(-1)
}
