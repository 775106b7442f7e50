package saga

import "time"

// maxEvents wait for OnEvent; sagas do not.
const maxEvents = 4096

// startEvents begins to deliver; the function it returns delivers what is left and
// ends.
func (s *server) startEvents() (stop func()) {
	if s.cfg.OnEvent == nil {
		return func() {}
	}
	s.events = make(chan Record, maxEvents)
	quit, done := make(chan struct{}), make(chan struct{})
	go s.deliver(quit, done)
	return func() {
		close(quit)
		<-done
	}
}

// deliver calls OnEvent until it is told to stop. Events are not closed: a call
// that Serve did not wait for may still have one.
func (s *server) deliver(quit, done chan struct{}) {
	returned := false
	defer func() {
		if !returned { // Goexit in OnEvent: the rest goes to another goroutine
			go s.deliver(quit, done)
		}
	}()
	for {
		select {
		case r := <-s.events:
			s.onEvent(r)
			continue
		default:
		}
		select {
		case r := <-s.events:
			s.onEvent(r)
		case <-quit:
			if len(s.events) == 0 {
				returned = true
				close(done)
				return
			}
		}
	}
}

func (s *server) onEvent(r Record) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Logger.Error("saga: OnEvent panicked", "saga", r.Saga, "kind", r.Kind, "panic", v)
		}
	}()
	s.cfg.OnEvent(r)
}

func (r *run) tellAll(w *Write, at time.Time) {
	if r.events == nil {
		return
	}
	for _, rec := range w.Records {
		rec.At = at
		r.tell(w.Summary, rec)
	}
}

// tell queues an event for OnEvent.
func (r *run) tell(s Summary, rec Record) {
	if r.events == nil {
		return
	}
	rec.Saga, rec.Name = s.ID, s.Name
	select {
	case r.events <- rec:
	default:
		r.totals.dropped.Add(1)
	}
}
