package saga

import (
	"context"
	"runtime/pprof"
)

// maxResting workers wait for the next saga: their stacks have grown already to what
// the steps of a saga need. A step must not leave its goroutine locked to a thread: the
// sagas that come after it would be locked as well.
const maxResting = 64

// employ drives a run that has begun, in a worker that rests or in a new one.
func (s *server) employ(r *run) {
	select {
	case s.jobs <- r:
	default:
		s.wg.Add(1) // wg.Go would allocate twice
		go s.work(r)
	}
}

func (s *server) work(r *run) {
	defer s.wg.Done() // also after a Goexit in a step
	for r != nil {
		r.drive()
		r = s.rest()
	}
}

// rest waits for a job; nil: there is none any more, or enough others wait.
func (s *server) rest() (r *run) {
	pprof.SetGoroutineLabels(context.Background()) // those of who started the saga
	if s.resting.Add(1) <= maxResting {
		select {
		case r = <-s.jobs:
		case <-s.closed:
		}
	}
	s.resting.Add(-1)
	return r
}
