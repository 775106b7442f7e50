package hedge

import (
	"runtime"
	"runtime/debug"
)

// Whatever happens on another goroutine, the caller's is the last one: it waits
// until the books say that nobody else is there, or may still come, and only
// then returns, panics or exits. So a hedge leaves nothing behind, and nothing
// that it does can surprise the caller later.

// extra is the life of a goroutine beside the caller's. It makes the attempt
// with the given index, or asks for one first if that is negative.
func (r *race[T]) extra(index int) {
	returned := false
	// A deferred function that finds neither a return nor a panic is running
	// because of a Goexit. That cannot be stopped, and need not be.
	defer func() {
		if returned {
			r.leave(nil, false)
		} else if value := recover(); value != nil {
			r.leave(&PanicError{Value: value, Stack: debug.Stack()}, false)
		} else {
			r.leave(nil, true)
		}
	}()
	if index < 0 {
		index = r.more(nil)
	}
	if index < 0 {
		r.rest()
	} else {
		v, err := r.call(index)
		r.run(index, v, err)
	}
	returned = true
}

// leave ends a goroutine beside the caller's, of which a panic or an exit ends
// the race.
func (r *race[T]) leave(p *PanicError, exited bool) {
	if p != nil || exited {
		r.mu.Lock()
		if r.panicked == nil {
			r.panicked = p
		}
		r.exited = r.exited || exited
		r.close()
		r.mu.Unlock()
		r.cancel()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone()
}

// close decides the race without a result, if it is open. r.mu is held.
func (r *race[T]) close() {
	if !r.decided {
		r.decide(outcome[T]{})
	}
}

// gone takes one goroutine from the books. r.mu is held.
func (r *race[T]) gone() {
	r.others--
	if r.others == 0 && r.idle != nil {
		close(r.idle)
	}
}

// wait returns when the caller's goroutine is the only one left.
func (r *race[T]) wait() {
	r.mu.Lock()
	if r.others > 0 {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// finish waits for the end of the race and returns its result.
func (r *race[T]) finish() (T, error) {
	r.wait()
	if r.panicked != nil {
		panic(r.panicked)
	}
	if r.exited {
		runtime.Goexit()
	}
	if r.wanted && r.policy.OnEvent != nil {
		r.policy.OnEvent(r.ctx, Event{Attempts: r.begun, Winner: r.winner, Denied: r.denied, Err: r.result.err})
	}
	r.returned = true
	return r.result.value, r.result.err
}

// end runs when Do returns, panics or exits. In the latter cases it stops what
// still runs, and a success that nobody gets is discarded here.
func (r *race[T]) end() {
	r.cancel()
	if r.returned {
		return
	}
	r.mu.Lock()
	r.close()
	r.mu.Unlock()
	r.wait()
	if r.winner >= 0 && r.discard != nil {
		r.discard(r.result.value)
	}
}
