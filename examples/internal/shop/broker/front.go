// Package broker puts messaging.Memory behind HTTP, so that services in processes of
// their own share it: Front is the server, Client what a service talks to it with,
// itself a messaging.Publisher and Subscriber. A real broker takes the place of
// both.
//
// The broker keeps nothing over a crash, which is why it lives in the control
// process, outside of what the demo kills. It can be cut off there, like any
// service, by the faults of its node.
package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Front serves a broker. A subscriber is a member: it asks for deliveries by long
// poll, and says of each what has become of it. One that has not asked for a while
// is gone, and what it had is delivered to others.
type Front struct {
	memory *messaging.Memory

	mu      sync.Mutex
	members map[string]*member
	ending  <-chan struct{} // closed when the node begins to stop
	running context.Context // of the node; nil before and after its life
	deliver func(topic string) (copies, behind int)
	back    []*heldBack
	wg      sync.WaitGroup
}

// silence is how long a member may not ask before it counts as gone.
const silence = 3 * time.Second

// NewFront returns a front of memory, which outlives it.
func NewFront(memory *messaging.Memory) *Front {
	return &Front{memory: memory, members: map[string]*member{}}
}

// Routes are those of the broker as a service; it may be built again after its end.
func (f *Front) Routes(n *wire.Node) (*http.ServeMux, error) {
	n.Section("broker", func() any {
		stats := f.memory.Stats()
		for _, g := range stats {
			if g.Ready+g.Delayed > 0 {
				n.Stir() // it will not stay so
			}
		}
		return stats
	})
	ready := n.Await("members")
	n.Go("members", func(ctx context.Context) error {
		f.mu.Lock()
		f.running = ctx
		f.mu.Unlock()
		ready()
		<-ctx.Done()
		f.mu.Lock()
		f.running = nil // nobody joins any more
		f.mu.Unlock()
		f.wg.Wait()
		return ctx.Err()
	})
	f.mu.Lock()
	f.deliver, f.ending = n.Deliver, n.Stopping()
	f.mu.Unlock()
	mux := http.NewServeMux()
	mux.Handle("POST /messages", wire.Handler(f.publish))
	mux.Handle("POST /members", wire.Handler(f.join))
	mux.Handle("GET /members/{id}/next", wire.Handler(f.next))
	mux.Handle("POST /members/{id}/done", wire.Handler(f.done))
	mux.Handle("DELETE /members/{id}", wire.Handler(f.leave))
	return mux, nil
}

func (f *Front) publish(w http.ResponseWriter, r *http.Request) error {
	var msgs []messaging.Message
	if err := decode(w, r, &msgs); err != nil {
		return err
	}
	err := f.spread(r.Context(), msgs)
	if errors.Is(err, messaging.ErrInvalid) {
		return wire.Invalid(err.Error())
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := wire.ReadBody(w, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return wire.NewProblem(http.StatusBadRequest, "malformed", err.Error())
	}
	return nil
}

// subscription is messaging.Subscription without its functions.
type subscription struct {
	Topics      []string `json:"topics"`
	Group       string   `json:"group"`
	DeadLetter  string   `json:"deadLetter,omitempty"`
	Concurrency int      `json:"concurrency,omitempty"`
	MaxAttempts int      `json:"maxAttempts,omitempty"`
}

// delivery is one at a member. Tag names it in the answer.
type delivery struct {
	Tag int `json:"tag"`
	messaging.Delivery
}

// verdict is what became of a delivery.
type verdict struct {
	Tag     int           `json:"tag"`
	Failure string        `json:"error,omitempty"` // empty acknowledges
	After   time.Duration `json:"retryAfter,omitempty"`
	Final   bool          `json:"final,omitempty"` // no repeat helps
}

func (v verdict) Error() string             { return v.Failure }
func (v verdict) RetryAfter() time.Duration { return v.After }
func (v verdict) Retryable() bool           { return !v.Final }

// member is one subscriber.
type member struct {
	end    context.CancelFunc
	ending <-chan struct{} // closed when the broker begins to stop
	alive  *time.Timer
	news   chan struct{} // has one when there is something to take

	mu      sync.Mutex
	polls   int // that wait
	lastTag int
	waiting []delivery
	open    map[int]chan verdict
}

func (f *Front) join(w http.ResponseWriter, r *http.Request) error {
	var s subscription
	if err := decode(w, r, &s); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		return stopping()
	}
	ctx, cancel := context.WithCancel(f.running)
	id := rand.Text()
	m := &member{
		end: cancel, ending: f.ending, news: make(chan struct{}, 1), open: map[int]chan verdict{}, alive: time.AfterFunc(silence, cancel),
	}
	f.members[id] = m
	sub := messaging.Subscription{
		Topics: s.Topics, Group: s.Group, DeadLetter: s.DeadLetter, Concurrency: s.Concurrency, MaxAttempts: s.MaxAttempts,
		// At most a second: what waits for a service that was away is not to wait on for
		// half a minute when it is back.
		Backoff: func(attempt int) time.Duration { return min(100*time.Millisecond<<min(attempt-1, 10), time.Second) },
	}
	f.wg.Go(func() {
		_ = f.memory.Subscribe(ctx, sub, m.handle) // ends with ctx, or at once if sub breaks a rule: the member is gone
		cancel()
		m.alive.Stop()
		f.mu.Lock()
		delete(f.members, id)
		f.mu.Unlock()
	})
	return wire.WriteJSON(w, http.StatusCreated, map[string]string{"id": id})
}

func stopping() error {
	return wire.NewProblem(http.StatusServiceUnavailable, "stopping", "the broker is about to stop")
}

// handle gives a delivery to the member and waits for what becomes of it.
func (m *member) handle(ctx context.Context, d messaging.Delivery) error {
	answer := make(chan verdict, 1)
	m.mu.Lock()
	m.lastTag++
	tag := m.lastTag
	m.open[tag] = answer
	m.waiting = append(m.waiting, delivery{tag, d})
	m.mu.Unlock()
	m.wake()
	defer func() {
		m.mu.Lock()
		delete(m.open, tag)
		m.mu.Unlock()
	}()
	select {
	case v := <-answer:
		if v.Failure != "" {
			return v
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *member) wake() {
	select {
	case m.news <- struct{}{}:
	default: // it has been told
	}
}

func (m *member) take() []delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.waiting
	m.waiting = nil
	return out
}

func (f *Front) member(r *http.Request) (*member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[r.PathValue("id")]
	if m == nil {
		return nil, wire.NewProblem(http.StatusNotFound, "not-found", "no such member")
	}
	m.heard(0, silence)
	return m, nil
}

// heard is a sign of life, after which the member may be silent for that long; change is
// of the polls that wait. While one does it tells more than any other request, and only
// another poll may set its time anew.
func (m *member) heard(change int, silent time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.polls += change
	if change > 0 || m.polls == 0 {
		m.alive.Reset(silent)
	}
}

// next answers with deliveries, at once or when there are some. None is an empty
// list; so the member knows that it is known.
func (f *Front) next(w http.ResponseWriter, r *http.Request) error {
	m, err := f.member(r)
	if err != nil {
		return err
	}
	wait, err := wire.Duration(r, "wait")
	if err != nil {
		return err
	}
	// Who waits for long is there for as long; who hangs up meanwhile has died, or will
	// not ask again under this name: he has time to say what his handlers have done.
	m.heard(1, wait+silence)
	left := silence
	defer func() { m.heard(-1, left) }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	out := m.take()
	for len(out) == 0 {
		select {
		case <-m.news:
			out = m.take()
			continue
		case <-timer.C:
		case <-m.ending:
			return stopping() // and not an empty list, after which it would ask at once
		case <-r.Context().Done():
			left = silence / 2
		}
		break
	}
	if out == nil {
		out = []delivery{}
	}
	return wire.WriteJSON(w, http.StatusOK, out)
}

func (f *Front) done(w http.ResponseWriter, r *http.Request) error {
	m, err := f.member(r)
	if err != nil {
		return err
	}
	var v verdict
	if err := decode(w, r, &v); err != nil {
		return err
	}
	m.mu.Lock()
	answer := m.open[v.Tag]
	delete(m.open, v.Tag) // a repeat finds nobody, which is right
	m.mu.Unlock()
	if answer != nil {
		answer <- v
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (f *Front) leave(w http.ResponseWriter, r *http.Request) error {
	m, err := f.member(r)
	if err != nil {
		return err
	}
	m.end()
	w.WriteHeader(http.StatusNoContent)
	return nil
}
