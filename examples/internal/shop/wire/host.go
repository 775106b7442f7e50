package wire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/saga"
)

// This file is what a node offers to the service that it hosts: stores, work in
// the background, a say in its health, and a place for its figures. A service
// asks for all of it in its constructor, before Serve.

// Events is where a service keeps what has happened.
type Events interface {
	eventsource.Store
	eventsource.Checkpoints
}

// Stores opens the stores of one service. They are its own: no other service
// gets at them but by its HTTP API.
type Stores struct {
	Events func(part string) (Events, error)
	Sagas  func() (saga.Store, error)
}

// Broker is how services that do not wait for each other talk.
type Broker interface {
	messaging.Publisher
	messaging.Subscriber
}

// Broker returns the node's way to the broker.
func (n *Node) Broker() Broker {
	if n.broker == nil {
		n.broker = n.config.Broker(n)
	}
	return n.broker
}

// Relay publishes the events of log that q matches, in order and at least once: the
// log is the outbox. How far it is stands beside the log, so a service that dies
// between append and publish publishes when it is back.
func (n *Node) Relay(name string, log Events, q eventsource.Query, topic string) {
	relay := messaging.Relay(name, q, n.Broker(), topic)
	publish := relay.Apply
	relay.Apply = func(ctx context.Context, b eventsource.Batch) error {
		err := publish(ctx, b)
		for _, e := range b.Events { // published, and where the Relay is stands nowhere yet
			if err == nil {
				n.Crash("/"+topic+"/"+e.Type, fault.Answer)
			}
		}
		return err
	}
	if n.Sabotaged("no-outbox") {
		n.hope(name, log, relay)
		return
	}
	relay.BatchSize = 64
	// A log that nobody else can have open says so, and who is started again after a crash
	// need not wait for the lease of who is dead. Then signs of life may be rare.
	relay.Lease = n.config.Settings.Lease
	if alone, ok := log.(interface {
		Incarnation() (string, eventsource.Checkpoints)
	}); ok {
		if name, of := alone.Incarnation(); name != "" && of == eventsource.Checkpoints(log) {
			relay.Lease = time.Minute
		}
	}
	// The log is at hand and the broker is near: what waits should be gone a moment
	// after the broker is back.
	relay.Backoff = func(attempt int) time.Duration {
		return min(10*time.Millisecond<<min(attempt, 10), 250*time.Millisecond)
	}
	var behind atomic.Uint64
	relay.OnEvent = func(p eventsource.Progress) {
		behind.Store(uint64(p.Head - p.Through))
		n.Stir()
	}
	n.Go("relay "+name, func(ctx context.Context) error { return relay.Run(ctx, log, log) })
	n.Section("outbox", func() any {
		if behind.Load() > 0 {
			n.Stir()
		}
		return Entry{name, behind.Load()}
	})
}

// hope is what a Relay must not be: it publishes what comes from now on, once, and what
// does not arrive is lost, as is all that happens while nobody publishes.
func (n *Node) hope(name string, log Events, relay eventsource.Projection) {
	n.Go("relay "+name, func(ctx context.Context) (err error) {
		if relay.From, err = log.Head(ctx); err != nil {
			return err
		}
		publish := relay.Apply
		relay.Apply = func(ctx context.Context, b eventsource.Batch) error {
			_ = publish(ctx, b) // this is the point
			return nil
		}
		return relay.Run(ctx, log, eventsource.NewMemory())
	})
}

// Deliver says what the faults in force do to the next message of a topic: how often it
// is delivered, and how many later ones overtake it. For the broker.
func (n *Node) Deliver(topic string) (copies, behind int) { return n.faults.Deliver(topic) }

// Crash ends this process if a fault wants that at this point of what has the path: a
// message is /TOPIC/TYPE. Without -procs, and without such a fault, it does nothing.
func (n *Node) Crash(path, point string) { n.faults.Crash(path, point) }

// OrderEvents is the topic of a choreography: what happens to orders, key order id.
const OrderEvents = "order-events"

// Choreographed reports whether orders are brought through by events, each service
// reacting to those of others, and not by a coordinator.
func (n *Node) Choreographed() bool { return n.config.Saga == "choreography" }

// React takes part in the choreography: events of these types go from log to the topic,
// and what others publish comes to handle, until it succeeds, in order for each order.
func (n *Node) React(group string, log Events, types []string, handle messaging.Handler) {
	n.Relay(OrderEvents, log, eventsource.Query{{Types: types}}, OrderEvents)
	broker := n.Broker()
	sub := messaging.Subscription{Topics: []string{OrderEvents}, Group: group, Concurrency: 16, MaxAttempts: -1}
	mortal := func(ctx context.Context, d messaging.Delivery) error {
		path := "/" + OrderEvents + "/" + TypeOf(d)
		n.Crash(path, fault.Before)
		err := handle(ctx, d)
		if err == nil {
			n.Crash(path, fault.Effect)
		}
		return err
	}
	n.Go(group, func(ctx context.Context) error { return broker.Subscribe(ctx, sub, mortal) })
}

// Reaction is the scope of what a service decides because of an event: keyed by the
// event and the name of the reaction, so that a repeat is answered from the log, and
// with the audit data by which a conversation is traced.
func Reaction(d messaging.Delivery, name string) eventsource.Scope {
	return eventsource.Scope{
		Stream: d.Key, Key: d.ID + "/" + name,
		Meta: map[string]string{"correlation": d.Key, "causation": d.ID},
	}
}

// TypeOf is the type of the event that a message is.
func TypeOf(d messaging.Delivery) string { return d.Headers["keelson-type"] }

// Open opens the log called part of this service. The node closes it, and shows
// it at GET /log?part=.
func (n *Node) Open(part string) (Events, error) {
	events, err := n.config.Stores.Events(part)
	if err != nil {
		return nil, err
	}
	n.owns(events)
	n.logs = append(n.logs, namedLog{part, events})
	return events, nil
}

// OpenSagas opens the store of this service's sagas. The node closes it.
func (n *Node) OpenSagas() (saga.Store, error) {
	store, err := n.config.Stores.Sagas()
	if err != nil {
		return nil, err
	}
	n.owns(store)
	return store, nil
}

// Own makes the node close what a service has made, once nothing uses it any more.
func (n *Node) Own(closers ...io.Closer) { n.closers = append(n.closers, closers...) }

// Knows reports whether there is an address of callee.
func (n *Node) Knows(callee string) bool { return n.config.Peers[callee] != nil }

// owns sees to it that v is closed, once nothing uses it any more.
func (n *Node) owns(v any) {
	if c, ok := v.(io.Closer); ok {
		n.closers = append(n.closers, c)
	}
}

// Go runs fn in the background from Serve to Stop, when its ctx ends. An fn that
// returns before that has failed, and with it the service: it is not ready any
// more, so that somebody looks.
func (n *Node) Go(name string, fn func(context.Context) error) {
	n.background = append(n.background, func(ctx context.Context) {
		err := fn(ctx)
		if ctx.Err() != nil {
			return
		}
		n.config.Logger.Error("background work ended", "what", name, "err", err)
		n.Await(name)
	})
}

// Await makes the node unready until done is called, and names what it waits for.
// Requests that come before a node has been ready for the first time are held until
// it is: a read model that has not caught up would deny what exists.
func (n *Node) Await(name string) (done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.awaited = append(n.awaited, name)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if i := slices.Index(n.awaited, name); i >= 0 {
			n.awaited = slices.Delete(n.awaited, i, i+1)
		}
		n.openIfReady()
	}
}

// openIfReady lets requests in, from the first moment on at which nothing is awaited.
// The caller holds mu.
func (n *Node) openIfReady() {
	if n.serving && len(n.awaited) == 0 {
		n.openOnce.Do(func() { close(n.open) })
	}
}

// waitsFor is the first thing that the node is not ready without; "" if it is.
func (n *Node) waitsFor() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.awaited) == 0 {
		return ""
	}
	return n.awaited[0]
}

// Section adds what read returns to the node's statistics under the given name.
// Read is called at any time, from any goroutine, and must not block.
func (n *Node) Section(name string, read func() any) {
	n.sections = append(n.sections, section{name, read})
}

type section struct {
	name string
	read func() any
}

// readSections gathers the sections. Those of one name are merged, as lag has an
// entry for each read model.
func (n *Node) readSections() map[string]json.RawMessage {
	if len(n.sections) == 0 {
		return nil
	}
	values := map[string]any{}
	for _, s := range n.sections {
		v := s.read()
		if entry, ok := v.(Entry); ok {
			entries, _ := values[s.name].(map[string]any)
			if entries == nil {
				entries = map[string]any{}
			}
			entries[entry.Name] = entry.Value
			v = entries
		}
		values[s.name] = v
	}
	out := make(map[string]json.RawMessage, len(values))
	for name, v := range values {
		if raw, err := json.Marshal(v); err == nil {
			out[name] = raw
		}
	}
	return out
}

// Entry is a section that is one of several under the same name.
type Entry struct {
	Name  string
	Value any
}

// Tell passes one record on to the collector, by the way that breaker and retry
// events go: never waiting, never on a request's path.
func (n *Node) Tell(kind string, data any) { n.telemetry.add(kind, time.Now(), data) }

// Stir says that something has happened here, or is under way, that a page wants to see
// soon: what a node at rest has to tell it tells every four seconds. Requests and what is
// told by Tell do so by themselves.
func (n *Node) Stir() { n.telemetry.stir() }

// closeAll closes what the node owns, the last one first.
func (n *Node) closeAll() {
	for _, c := range slices.Backward(n.closers) {
		if err := c.Close(); err != nil && !errors.Is(err, context.Canceled) {
			n.config.Logger.Error("a store did not close", "err", err)
		}
	}
}
