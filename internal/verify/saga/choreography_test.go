package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/verify/internal/pg"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
	"github.com/keelson-go/keelson/saga/choreography"
)

// conversations are orders of which three in four are refused: by payment, by
// inventory, by shipping.
const conversations = 24

func orderID(i int) string { return fmt.Sprintf("order-%02d", i) }

// refuses tells whether a participant refuses an order.
func refuses(participant, id string) bool {
	var i int
	if _, err := fmt.Sscanf(id, "order-%d", &i); err != nil {
		panic(err)
	}
	return [...]string{"", "payment", "inventory", "shipping"}[i%4] == participant
}

// journal is what participants have done, by order and participant: +1 done, -1
// taken back. Tx is nil where effects are in the process.
type journal interface {
	add(ctx context.Context, tx *sql.Tx, id, participant string, amount int) error
	sums(t *testing.T) map[string]int
}

type inProcess struct {
	mu  sync.Mutex
	sum map[string]int
}

func (j *inProcess) add(_ context.Context, _ *sql.Tx, id, participant string, amount int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sum[id+"/"+participant] += amount
	return nil
}

func (j *inProcess) sums(*testing.T) map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.sum)
}

type inTables struct{ db *sql.DB }

func (j *inTables) add(ctx context.Context, tx *sql.Tx, id, participant string, amount int) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO journal (effect, amount) VALUES ('%s/%s', %d)", id, participant, amount))
	return err
}

func (j *inTables) sums(t *testing.T) map[string]int {
	rows, err := j.db.QueryContext(t.Context(), "SELECT effect, sum(amount) FROM journal GROUP BY effect")
	require.NoError(t, err)
	defer rows.Close()
	all := map[string]int{}
	for rows.Next() {
		var effect string
		var sum int
		require.NoError(t, rows.Scan(&effect, &sum))
		all[effect] = sum
	}
	require.NoError(t, rows.Err())
	return all
}

// there are the effects that are not taken back.
func there(sums map[string]int) []string {
	maps.DeleteFunc(sums, func(_ string, sum int) bool { return sum == 0 })
	out := make([]string, 0, len(sums))
	for effect, sum := range sums {
		if sum != 1 {
			effect = fmt.Sprint(effect, " ", sum, " times")
		}
		out = append(out, effect)
	}
	slices.Sort(out)
	return out
}

// orchestrated is the reference: the same participants, led by one saga per order.
func orchestrated(t *testing.T) []string {
	t.Helper()
	j := &inProcess{sum: map[string]int{}}
	c, err := saga.New(saga.NewMemory(), saga.Config{})
	require.NoError(t, err)
	d := saga.Definition[order]{Name: "order"}
	for _, participant := range []string{"order", "payment", "inventory", "shipping"} {
		d.Steps = append(d.Steps, saga.Step[order]{
			Name: participant,
			Do: func(ctx context.Context, _ *order) error {
				id := saga.CallFrom(ctx).Saga
				if refuses(participant, id) {
					return saga.Refuse(nil)
				}
				return j.add(ctx, nil, id, participant, 1)
			},
			Undo: func(ctx context.Context, _ *order) error {
				return j.add(ctx, nil, saga.CallFrom(ctx).Saga, participant, -1)
			},
		})
	}
	s, err := saga.Register(c, d)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx) }()
	for i := range conversations {
		if _, err := s.Run(ctx, orderID(i), order{}); err != nil {
			require.ErrorIs(t, err, saga.ErrCompensated)
		}
	}
	stop()
	require.NoError(t, <-served)
	return there(j.sums(t))
}

// choreographed is the flow of the same participants, whose handlers fail now and
// then, before their effect and after it.
func choreographed(j journal, flaky func() bool) choreography.Flow {
	words := strings.Fields
	f := choreography.Flow{
		Name: "orders",
		Participants: []choreography.Participant{
			{Name: "order", Starts: words("OrderCreated"), Reactions: []choreography.Reaction{
				{On: "PaymentRefused", Compensates: "OrderCreated", Emits: words("OrderRejected")},
				{On: "PaymentReturned", Compensates: "OrderCreated", Emits: words("OrderWithdrawn")},
				{On: "PaymentReleased", Compensates: "OrderCreated", Emits: words("OrderCancelled")},
			}},
			{Name: "payment", Reactions: []choreography.Reaction{
				{On: "OrderCreated", Emits: words("PaymentReserved"), Fails: words("PaymentRefused")},
				{On: "StockRefused", Compensates: "PaymentReserved", Emits: words("PaymentReturned")},
				{On: "StockReleased", Compensates: "PaymentReserved", Emits: words("PaymentReleased")},
			}},
			{Name: "inventory", Reactions: []choreography.Reaction{
				{On: "PaymentReserved", Emits: words("StockReserved"), Fails: words("StockRefused")},
				{On: "ShipmentRefused", Compensates: "StockReserved", Emits: words("StockReleased")},
			}},
			{Name: "shipping", Reactions: []choreography.Reaction{
				{On: "StockReserved", Emits: words("ShipmentCreated"), Fails: words("ShipmentRefused")},
			}},
		},
		Ends: words("ShipmentCreated OrderRejected OrderWithdrawn OrderCancelled"),
	}
	for p := range f.Participants {
		name := f.Participants[p].Name
		for r := range f.Participants[p].Reactions {
			reaction := &f.Participants[p].Reactions[r]
			reaction.Handle = func(ctx context.Context, tx *sql.Tx, e choreography.Event) (choreography.Event, error) {
				out := choreography.Event{Type: reaction.Emits[0], Data: e.Data}
				amount := 1
				switch {
				case flaky():
					return choreography.Event{}, errBusy
				case reaction.Compensates != "":
					amount = -1
				case refuses(name, e.Correlation):
					out.Type = reaction.Fails[0]
					return out, nil
				}
				err := j.add(ctx, tx, e.Correlation, name, amount)
				if err == nil && tx != nil && flaky() { // which undoes it
					err = errBusy
				}
				return out, err
			}
		}
	}
	return f
}

var errBusy = errors.New("not now")

type broker interface {
	messaging.Publisher
	messaging.Subscriber
}

// wild delivers messages twice, late and out of order; its Publish fails before and
// after the fact.
type wild struct {
	broker
	mu      sync.Mutex
	rnd     *rand.Rand
	pending atomic.Int64
}

func (w *wild) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

func (w *wild) flaky() bool { return w.roll(6) == 0 }

func (w *wild) Publish(ctx context.Context, msgs ...messaging.Message) error {
	if w.roll(8) == 0 {
		return errors.New("the broker is away")
	}
	for _, m := range msgs {
		m.Key = "" // no order at all
		for range 1 + w.roll(2) {
			late := time.Duration(w.roll(60)) * time.Millisecond
			w.pending.Add(1)
			go func() {
				defer w.pending.Add(-1)
				time.Sleep(late)
				for w.broker.Publish(context.WithoutCancel(ctx), m) != nil {
					time.Sleep(time.Millisecond)
				}
			}()
		}
	}
	if w.roll(8) == 0 {
		return errors.New("the reply is lost")
	}
	return nil
}

// served runs all participants and a trace until every conversation is done.
func served(t *testing.T, f choreography.Flow, w *wild, participant func(name string) choreography.Config, begin func(ctx context.Context, m messaging.Message, id string)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	trace := choreography.NewTrace(f, 0)
	group.Go(func() { _ = trace.Serve(ctx, w.broker) })
	for _, p := range f.Participants {
		group.Go(func() {
			cfg := participant(p.Name)
			cfg.Subscriber = w.broker
			cfg.Subscription = messaging.Subscription{
				Concurrency: 4, MaxAttempts: -1, Backoff: func(int) time.Duration { return 5 * time.Millisecond },
			}
			assert.ErrorIs(t, f.Serve(ctx, p.Name, cfg), context.Canceled)
		})
	}
	for i := range conversations {
		e, err := choreography.Emit("OrderCreated", i)
		require.NoError(t, err)
		m, err := f.Begin(orderID(i), e)
		require.NoError(t, err)
		begin(ctx, m, orderID(i))
	}
	deadline := time.Now().Add(patience)
	for len(trace.Open()) > 0 || !knows(trace) {
		if time.Now().After(deadline) {
			t.Fatalf("still open: %v", trace.Open())
		}
		time.Sleep(5 * time.Millisecond)
	}
	for w.pending.Load() > 0 { // duplicates that are still on their way; more may come
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	stop()
	group.Wait()
}

func knows(trace *choreography.Trace) bool {
	for i := range conversations {
		if _, ok := trace.Get(orderID(i)); !ok {
			return false
		}
	}
	return true
}

func brokers(t *testing.T) map[string]func() broker {
	return map[string]func() broker{
		"memory": func() broker { return messaging.NewMemory(messaging.Config{}) },
		"redis": func() broker {
			client := redis.NewClient(&redis.Options{Addr: engine.Redis(t).Addr(), ContextTimeoutEnabled: true})
			t.Cleanup(func() { _ = client.Close() })
			return messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
		},
	}
}

// T39, T40: with duplicates, no order, and publishes that are lost and repeated, a
// choreography leaves the effects that orchestration leaves.
func TestChoreographyLeavesTheSameLedger(t *testing.T) {
	want := orchestrated(t)
	require.Len(t, want, conversations, "one order in four has four effects")
	for name, open := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			w := &wild{broker: open(), rnd: rand.New(rand.NewPCG(1, 2))}
			j := &inProcess{sum: map[string]int{}}
			served(t, choreographed(j, w.flaky), w,
				func(string) choreography.Config { return choreography.Config{Publisher: w} },
				func(ctx context.Context, m messaging.Message, id string) {
					require.NoError(t, j.add(ctx, nil, id, "order", 1))
					for w.Publish(ctx, m) != nil { // as an outbox would
					}
				})
			assert.Equal(t, want, there(j.sums(t)))
		})
	}
}

// T39, T40: the same where inbox, barrier, effect and outgoing event are one
// transaction of the participant's database, and relays publish.
func TestChoreographyOnOutboxesLeavesTheSameLedger(t *testing.T) {
	want := orchestrated(t)
	for name, source := range map[string]func() (driver, source string, open func() broker){
		"sqlite, memory": func() (string, string, func() broker) {
			return "sqlite", sqliteDSN(t.TempDir()) + "&_txlock=immediate", brokers(t)["memory"]
		},
		"postgres, redis": func() (string, string, func() broker) { return "pgx", pg.Database(t), brokers(t)["redis"] },
	} {
		t.Run(name, func(t *testing.T) {
			driver, dsn, open := source()
			db := openDB(t, driver, dsn)
			require.NoError(t, outbox.Setup(t.Context(), db, outbox.Config{}))
			require.NoError(t, barrier.Setup(t.Context(), db))
			_, err := db.ExecContext(t.Context(), "CREATE TABLE journal (effect text NOT NULL, amount integer NOT NULL)")
			require.NoError(t, err)
			box, err := outbox.Open(t.Context(), db, outbox.Config{Poll: 5 * time.Millisecond, MaxAttempts: -1})
			require.NoError(t, err)
			w := &wild{broker: open(), rnd: rand.New(rand.NewPCG(3, 4))}
			ctx, stop := context.WithCancel(t.Context())
			relayed := make(chan error, 1)
			go func() { relayed <- box.Relay(ctx, w) }()
			j := &inTables{db}
			served(t, choreographed(j, w.flaky), w,
				func(string) choreography.Config { return choreography.Config{Outbox: box} },
				func(ctx context.Context, m messaging.Message, id string) {
					tx, err := db.BeginTx(ctx, nil)
					require.NoError(t, err)
					require.NoError(t, j.add(ctx, tx, id, "order", 1))
					require.NoError(t, box.Put(ctx, tx, m))
					require.NoError(t, tx.Commit())
				})
			stop()
			require.ErrorIs(t, <-relayed, context.Canceled)
			assert.Equal(t, want, there(j.sums(t)))
			parked, err := box.Parked(t.Context(), 10)
			require.NoError(t, err)
			assert.Empty(t, parked)
		})
	}
}
