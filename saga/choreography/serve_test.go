package choreography_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga/choreography"
)

// world counts the effects of each participant: +1 done, -1 undone.
type world struct {
	mu      sync.Mutex
	effects map[string]int
	calls   []string
	refuse  map[string]bool // reactions, by the event they are on
	flaky   func() bool
}

func (w *world) add(name string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.effects[name] += n
	w.calls = append(w.calls, fmt.Sprintf("%s%+d", name, n))
}

// play gives every reaction a handler on w.
func (w *world) play(f flow) flow {
	for pi, p := range f.Participants {
		for ri, r := range p.Reactions {
			f.Participants[pi].Reactions[ri].Handle = func(_ context.Context, _ *sql.Tx, e choreography.Event) (choreography.Event, error) {
				if w.flaky != nil && w.flaky() {
					return choreography.Event{}, errors.New("not now")
				}
				switch {
				case len(r.Emits)+len(r.Fails) == 0:
					w.add(p.Name, 1)
					return choreography.Event{}, nil
				case r.Compensates != "":
					w.add(p.Name, -1)
				case len(r.Fails) > 0 && w.refuse[r.On]:
					return choreography.Event{Type: r.Fails[0], Data: e.Data}, nil
				default:
					w.add(p.Name, 1)
				}
				return choreography.Event{Type: r.Emits[0], Data: e.Data}, nil
			}
		}
	}
	return f
}

// run serves all participants and a trace on the broker, begins n conversations
// and returns when nothing moves any more.
func run(t *testing.T, f flow, w *world, broker interface {
	messaging.Publisher
	messaging.Subscriber
}, n int,
) *choreography.Trace {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	trace := choreography.NewTrace(f, 0)
	group.Go(func() { _ = trace.Serve(ctx, broker) })
	for _, p := range f.Participants {
		group.Go(func() {
			cfg := choreography.Config{
				Subscriber: broker, Publisher: broker,
				Subscription: messaging.Subscription{Concurrency: 4, MaxAttempts: -1},
			}
			err := f.Serve(ctx, p.Name, cfg)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	for i := range n {
		e, err := choreography.Emit("OrderCreated", map[string]int{"id": i})
		require.NoError(t, err)
		m, err := f.Begin(fmt.Sprint("order-", i), e)
		require.NoError(t, err)
		w.add("order", 1) // the service's own row, beside its outbox
		require.NoError(t, broker.Publish(ctx, m))
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	cancel()
	group.Wait()
	return trace
}

func TestFlowRunsToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{effects: map[string]int{}}
		trace := run(t, w.play(complete()), w, messaging.NewMemory(messaging.Config{}), 1)
		assert.Equal(t, map[string]int{"order": 1, "payment": 1, "inventory": 1, "shipping": 1, "mail": 1}, w.effects)
		path, ok := trace.Get("order-0")
		require.True(t, ok)
		assert.True(t, path.Done)
		assert.Equal(t, "", path.Failed)
		assert.Equal(t, "OrderCreated by order, PaymentReserved by payment, StockReserved by inventory, ShipmentCreated by shipping", hops(path))
	})
}

func hops(p choreography.Path) string {
	var all []string
	for _, h := range p.Hops {
		all = append(all, h.Event+" by "+h.By)
	}
	return strings.Join(all, ", ")
}

func TestRefusalsAreCompensated(t *testing.T) {
	for on, want := range map[string]string{
		"StockReserved":   "OrderCreated, PaymentReserved, StockReserved, ShipmentRefused!, StockReleased~, PaymentReleased~, OrderCancelled~",
		"PaymentReserved": "OrderCreated, PaymentReserved, StockRefused!, PaymentReturned~, OrderWithdrawn~",
		"OrderCreated":    "OrderCreated, PaymentRefused!, OrderRejected~",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{effects: map[string]int{}, refuse: map[string]bool{on: true}}
			trace := run(t, w.play(complete()), w, messaging.NewMemory(messaging.Config{}), 1)
			for name, n := range w.effects {
				assert.Equal(t, 0, n, name)
			}
			path, _ := trace.Get("order-0")
			var all []string
			for _, h := range path.Hops {
				mark := ""
				if h.Failed {
					mark = "!"
				}
				if h.Compensation {
					mark = "~"
				}
				all = append(all, h.Event+mark)
			}
			assert.Equal(t, want, strings.Join(all, ", "))
			assert.True(t, path.Done && len(path.Owed) == 0)
			assert.Equal(t, 0, len(trace.Open()))
		})
	}
}

// wild is a broker that delivers messages twice, late and out of order, and whose
// Publish fails before and after the fact.
type wild struct {
	*messaging.Memory
	mu  sync.Mutex
	rnd *rand.Rand
}

func (b *wild) roll(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rnd.IntN(n)
}

func (b *wild) Publish(ctx context.Context, msgs ...messaging.Message) error {
	if b.roll(10) == 0 {
		return errors.New("the broker is away")
	}
	for range 1 + b.roll(2) {
		for _, m := range msgs {
			m.Key = "" // no order at all
			m.Headers = maps.Clone(m.Headers)
			delay := time.Duration(b.roll(2000)) * time.Millisecond
			time.AfterFunc(delay, func() { _ = b.Memory.Publish(context.WithoutCancel(ctx), m) })
		}
	}
	if b.roll(10) == 0 {
		return errors.New("the reply is lost")
	}
	return nil
}

// T39, T40: whatever is delivered twice, in the wrong order, or lost and sent
// again: every conversation ends with the whole ledger or with none of it.
func TestLedgerBalancesOnAWildBroker(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			broker := &wild{Memory: messaging.NewMemory(messaging.Config{}), rnd: rand.New(rand.NewPCG(seed, 0))}
			w := &world{effects: map[string]int{}, refuse: map[string]bool{}, flaky: func() bool { return broker.roll(5) == 0 }}
			if seed%4 > 0 {
				w.refuse[[]string{"StockReserved", "PaymentReserved", "OrderCreated"}[seed%3]] = true
			}
			f := w.play(complete())
			trace := run(t, f, w, &patient{broker}, 5)
			want := 5
			if len(w.refuse) > 0 {
				want = 0
			}
			for _, name := range []string{"order", "payment", "inventory"} {
				assert.Equal(t, want, w.effects[name], fmt.Sprint("seed ", seed, " ", name, " ", w.calls))
			}
			assert.Equal(t, 0, len(trace.Open()), fmt.Sprint("seed ", seed))
		})
	}
}

// patient begins conversations until it works, as an outbox would; reactions have
// to bear the faults.
type patient struct{ *wild }

func (p *patient) Publish(ctx context.Context, msgs ...messaging.Message) error {
	for p.wild.Publish(ctx, msgs...) != nil {
		if msgs[0].Headers["causation"] != "" {
			return errors.New("the broker is away") // a reaction's own: it is redelivered
		}
	}
	return nil
}

// T40: a compensation that comes before its action: no effect, no event, and the
// chain still ends.
func TestCompensationBeforeItsAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{effects: map[string]int{}}
		f := w.play(complete())
		broker := messaging.NewMemory(messaging.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		var emitted []string
		group.Go(func() {
			_ = broker.Subscribe(ctx, messaging.Subscription{Topics: []string{"orders"}, Group: "spy"}, func(_ context.Context, d messaging.Delivery) error {
				emitted = append(emitted, d.Headers["keelson-type"])
				return nil
			})
		})
		group.Go(func() {
			_ = f.Serve(ctx, "inventory", choreography.Config{Subscriber: broker, Publisher: broker})
		})
		send := func(id, typ string) {
			require.NoError(t, broker.Publish(ctx, messaging.Message{
				ID: id, Topic: "orders", Key: "order-1", Headers: map[string]string{"keelson-type": typ, "correlation": "order-1"}, Body: []byte(`{"n":1}`),
			}))
			synctest.Wait()
		}
		send("1", "ShipmentRefused")
		send("2", "PaymentReserved")
		send("2", "PaymentReserved")
		cancel()
		group.Wait()
		assert.Equal(t, 0, len(w.calls))
		slices.Sort(emitted)
		assert.Equal(t, []string{"PaymentReserved", "PaymentReserved", "ShipmentRefused", "StockReleased"}, emitted)
	})
}

func TestServeRefusesWhatCannotWork(t *testing.T) {
	w := &world{effects: map[string]int{}}
	f := w.play(complete())
	broker := messaging.NewMemory(messaging.Config{})
	good := choreography.Config{Subscriber: broker, Publisher: broker}
	for want, try := range map[string]func() error{
		"nothing takes back":      func() error { return w.play(orders()).Serve(t.Context(), "order", good) },
		`no participant "nobody"`: func() error { return f.Serve(t.Context(), "nobody", good) },
		"Subscriber is nil":       func() error { return f.Serve(t.Context(), "order", choreography.Config{Publisher: broker}) },
		"one of Config.Outbox":    func() error { return f.Serve(t.Context(), "order", choreography.Config{Subscriber: broker}) },
		"has no Handle":           func() error { return complete().Serve(t.Context(), "order", good) },
	} {
		err := try()
		if assert.Error(t, err, want) {
			assert.Contains(t, err.Error(), want)
		}
	}
}

// An event that the flow does not declare is an error, and nothing of the reaction
// stays.
func TestUndeclaredEventsAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{effects: map[string]int{}}
		f := w.play(complete())
		f.Participants[1].Reactions[0].Handle = func(context.Context, *sql.Tx, choreography.Event) (choreography.Event, error) {
			return choreography.Event{Type: "PaymentLost"}, nil
		}
		broker := messaging.NewMemory(messaging.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan messaging.Event, 16)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = f.Serve(ctx, "payment", choreography.Config{
				Subscriber: broker, Publisher: broker,
				Subscription: messaging.Subscription{MaxAttempts: 2, OnEvent: func(e messaging.Event) { events <- e }},
			})
		}()
		m, err := f.Begin("order-1", choreography.Event{Type: "OrderCreated", Data: []byte(`{}`)})
		require.NoError(t, err)
		require.NoError(t, broker.Publish(ctx, m))
		time.Sleep(time.Hour)
		assert.Contains(t, (<-events).Err.Error(), `emits "PaymentLost"`)
		assert.True(t, (<-events).DeadLettered)
		cancel()
		<-done
	})
}

// A reaction that has refused had no effect, so its compensation, which another's
// refusal asks for, must not undo anything.
func TestRefusedReactionIsNotCompensated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := flow{
			Name: "trip",
			Participants: []participant{
				{Name: "order", Starts: list("OrderCreated"), Reactions: []reaction{
					{On: "HotelRefused", Compensates: "OrderCreated", Emits: list("Cancelled")},
					{On: "CarRefused", Compensates: "OrderCreated", Emits: list("CancelledToo")},
				}},
				{Name: "hotel", Reactions: []reaction{
					{On: "OrderCreated", Emits: list("HotelReserved"), Fails: list("HotelRefused")},
					{On: "CarRefused", Compensates: "HotelReserved", Emits: list("HotelReleased")},
				}},
				{Name: "car", Reactions: []reaction{
					{On: "OrderCreated", Emits: list("CarReserved"), Fails: list("CarRefused")},
					{On: "HotelRefused", Compensates: "CarReserved", Emits: list("CarReleased")},
				}},
			},
			Ends: list("HotelReserved CarReserved HotelReleased CarReleased Cancelled CancelledToo"),
		}
		w := &world{effects: map[string]int{}, refuse: map[string]bool{"OrderCreated": true}}
		run(t, w.play(f), w, messaging.NewMemory(messaging.Config{}), 3)
		// The order is taken back once, by whichever refusal comes first.
		assert.Equal(t, map[string]int{"order": 0}, w.effects)
	})
}

// T39: a refusal that is delivered again is the same refusal, even where the
// reaction would not refuse any more: by then the others may have taken back what
// they did.
func TestRefusalStandsWhenItComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{effects: map[string]int{}, refuse: map[string]bool{"StockReserved": true}}
		f := w.play(complete())
		broker := messaging.NewMemory(messaging.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		var said []string
		group.Go(func() {
			_ = broker.Subscribe(ctx, messaging.Subscription{Topics: []string{"orders"}, Group: "spy"}, func(_ context.Context, d messaging.Delivery) error {
				said = append(said, d.Headers["keelson-type"]+" of "+d.Headers["causation"])
				return nil
			})
		})
		group.Go(func() {
			_ = f.Serve(ctx, "shipping", choreography.Config{Subscriber: broker, Publisher: broker})
		})
		for range 2 {
			require.NoError(t, broker.Publish(ctx, messaging.Message{
				ID: "1", Topic: "orders", Key: "order-1", Headers: map[string]string{"keelson-type": "StockReserved"}, Body: []byte(`{}`),
			}))
			synctest.Wait()
			w.refuse["StockReserved"] = false
		}
		cancel()
		group.Wait()
		assert.Equal(t, 0, len(w.calls), "%v", w.calls)
		assert.Equal(t, []string{"StockReserved of ", "ShipmentRefused of 1", "StockReserved of ", "ShipmentRefused of 1"}, said)
	})
}

// An event without data that comes again has none either, and not the text null: it
// is the same message under the same id.
func TestStoredAnswersKeepThatThereIsNoData(t *testing.T) {
	stored, err := json.Marshal(choreography.Event{Type: "ShipmentRefused", ID: "1"})
	require.NoError(t, err)
	var again choreography.Event
	require.NoError(t, json.Unmarshal(stored, &again))
	assert.Equal(t, choreography.Event{Type: "ShipmentRefused", ID: "1"}, again)
}
