package choreography

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// traceGroup is the consumer group of traces.
const traceGroup = "trace"

// Trace follows conversations from their messages alone: where they stand, and what
// a failed one still has to take back. It is safe for concurrent use.
type Trace struct {
	flow Flow
	keep int

	mu    sync.Mutex
	all   map[string]*conversation
	order []string // correlations, oldest first
}

type conversation struct {
	hops map[string]Hop // by event ID
	seen []string       // IDs in the order of arrival
}

// Path is one conversation.
type Path struct {
	// Hops are the events, causes before what follows from them.
	Hops []Hop

	// Failed is the first refusal, empty if there is none.
	Failed string

	// Owed are effects that a failed conversation has not taken back yet, by the
	// event that says they are there.
	Owed []string

	// Done: nothing more is to come.
	Done bool
}

// Hop is one event of a conversation.
type Hop struct {
	Event, ID, Cause string
	By               string // the participant that emitted it
	Failed           bool   // it is a refusal
	Compensation     bool   // something was taken back
	At               time.Time
}

// NewTrace follows f, which should pass Check. Keep is how many conversations are
// remembered, the latest. Zero means 10,000.
func NewTrace(f Flow, keep int) *Trace {
	if keep <= 0 {
		keep = 10_000
	}
	return &Trace{flow: f, keep: keep, all: map[string]*conversation{}}
}

// Serve listens, in the group "trace", until ctx ends.
func (t *Trace) Serve(ctx context.Context, sub messaging.Subscriber) error {
	s := messaging.Subscription{Topics: []string{t.flow.Name}, Group: traceGroup}
	return sub.Subscribe(ctx, s, func(_ context.Context, d messaging.Delivery) error {
		if e, ok := eventOf(d.Message); ok {
			t.note(e, d.Time)
		}
		return nil
	})
}

func (t *Trace) note(e Event, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.all[e.Correlation]
	if c == nil {
		if len(t.order) >= t.keep {
			delete(t.all, t.order[0])
			t.order = t.order[1:]
		}
		c = &conversation{hops: map[string]Hop{}}
		t.all[e.Correlation] = c
		t.order = append(t.order, e.Correlation)
	}
	if _, again := c.hops[e.ID]; !again {
		c.hops[e.ID] = Hop{Event: e.Type, ID: e.ID, Cause: e.Cause, At: at}
		c.seen = append(c.seen, e.ID)
	}
}

// Get returns a conversation as far as its messages have come.
func (t *Trace) Get(correlation string) (Path, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.all[correlation]
	if c == nil {
		return Path{}, false
	}
	return t.path(c), true
}

// Open names the conversations that are not done, oldest first.
func (t *Trace) Open() (correlations []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, correlation := range t.order {
		if !t.path(t.all[correlation]).Done {
			correlations = append(correlations, correlation)
		}
	}
	return correlations
}

func (t *Trace) path(c *conversation) (p Path) {
	owed := map[string]bool{}
	p.Done = true
	for _, id := range c.causal() {
		h := c.hops[id]
		cause, known := c.hops[h.Cause]
		who, r := t.emitter(h, cause)
		h.By, h.Failed, h.Compensation = who, r != nil && slices.Contains(r.Fails, h.Event), r != nil && r.Compensates != ""
		p.Hops = append(p.Hops, h)
		p.Done = p.Done && (h.Cause == "" || known)
		switch {
		case h.Compensation:
			owed[r.Compensates] = false
		case h.Failed && p.Failed == "":
			p.Failed = h.Event
		case !h.Failed && (r == nil || !r.NoEffect):
			if _, settled := owed[h.Event]; !settled {
				owed[h.Event] = true
			}
		}
	}
	if p.Failed != "" {
		for _, e := range slices.Sorted(maps.Keys(owed)) {
			if owed[e] {
				p.Owed = append(p.Owed, e)
			}
		}
	}
	p.Done = p.Done && len(p.Owed) == 0 && t.answered(p.Hops)
	return p
}

// causal sorts causes before effects, else by arrival. An event whose cause has not
// come yet stands where it arrived.
func (c *conversation) causal() (ids []string) {
	placed := map[string]bool{}
	var place func(id string)
	place = func(id string) {
		if h, known := c.hops[id]; known && !placed[id] {
			placed[id] = true
			place(h.Cause)
			ids = append(ids, id)
		}
	}
	for _, id := range c.seen {
		place(id)
	}
	return ids
}

// emitter finds who emitted an event, and in which reaction; nil for a start.
func (t *Trace) emitter(h, cause Hop) (who string, reaction *Reaction) {
	for _, p := range t.flow.Participants {
		if h.Cause == "" && slices.Contains(p.Starts, h.Event) {
			return p.Name, nil
		}
		for i, r := range p.Reactions {
			if r.On == cause.Event && slices.Contains(r.outcomes(), h.Event) {
				return p.Name, &p.Reactions[i]
			}
		}
	}
	return "", nil
}

// answered: every reaction that has to emit something has, or has been taken back
// before it came.
func (t *Trace) answered(hops []Hop) bool {
	for _, h := range hops {
		for _, p := range t.flow.Participants {
			for _, r := range p.Reactions {
				if r.On == h.Event && len(r.outcomes()) > 0 && !t.reacted(hops, h, p, r) {
					return false
				}
			}
		}
	}
	return true
}

func (t *Trace) reacted(hops []Hop, to Hop, p Participant, r Reaction) bool {
	return slices.ContainsFunc(hops, func(h Hop) bool {
		if h.By != p.Name {
			return false
		}
		if h.Cause == to.ID && slices.Contains(r.outcomes(), h.Event) {
			return true
		}
		_, by := t.emitter(h, causeOf(hops, h))
		return by != nil && by.Compensates != "" && slices.Contains(r.Emits, by.Compensates)
	})
}

func causeOf(hops []Hop, h Hop) Hop {
	for _, c := range hops {
		if c.ID == h.Cause {
			return c
		}
	}
	return Hop{}
}
