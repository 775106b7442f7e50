package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/verify/internal/pg"
)

func TestMessagesArePublishedIfAndOnlyIfCommitted(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o, b := open(t, db, outbox.Config{}), newBroker(nil)
		relaying(t, o, b)

		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, o.Put(t.Context(), tx, message("gone", 0)))
		require.NoError(t, tx.Rollback())

		whole := messaging.Message{
			ID: `a "quoted" \ id`, Topic: "orders", Key: "κλειδί",
			Headers: map[string]string{"traceparent": "00-<1>", "empty": "", "{": `}"'\`}, Body: []byte{0, 255, '\'', '\\'},
		}
		bare := messaging.Message{Topic: "orders"}
		put(t, db, o, whole, bare)
		b.has(t, 2)
		got := b.all()
		assert.Equal(t, whole, got[0])
		assert.Len(t, got[1].ID, 36, "a UUID")
		bare.ID = got[1].ID
		assert.Equal(t, bare, got[1])
	})
}

func TestManyMessagesOfOnePutKeepTheirOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o, b := open(t, db, outbox.Config{}), newBroker(nil)
		var msgs []messaging.Message
		for n := range 300 {
			msgs = append(msgs, message("a", n), message("b", n))
		}
		put(t, db, o, msgs...)
		relaying(t, o, b)
		b.has(t, 600)
		inOrder(t, b.all(), 300)
		assert.Len(t, b.all(), 600, "no repeats")
	})
}

// T35: a transaction that drew its number first commits last.
func TestLateCommitsAreSent(t *testing.T) {
	for _, driver := range []string{"pgx", "postgres"} {
		db := openDB(t, driver, pg.Database(t))
		o, b := open(t, db, outbox.Config{}), newBroker(nil)
		relaying(t, o, b)
		slow, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, o.Put(t.Context(), slow, message("a", 0)))
		for n := range 5 {
			put(t, db, o, message("b", n))
			b.has(t, n+1)
		}
		require.NoError(t, slow.Commit())
		b.has(t, 6)
		assert.Equal(t, "a-0", b.ids()[5])
	}
}

// T35: relays that end at any time leave the order of a key as it was.
func TestOrderHoldsAcrossRestarts(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		const keys, perKey = 5, 60
		o := open(t, db, outbox.Config{Batch: 7, Lease: 100 * time.Millisecond})
		for n := range perKey {
			var msgs []messaging.Message
			for k := range keys {
				msgs = append(msgs, message(fmt.Sprint("key", k), n))
			}
			put(t, db, o, msgs...)
		}
		r := rand.New(rand.NewPCG(1, 2))
		b := newBroker(nil)
		for len(distinct(b.ids())) < keys*perKey {
			ctx, cancel := context.WithCancel(t.Context())
			left := 1 + r.IntN(6)
			pub := publisher(func(_ context.Context, msgs ...messaging.Message) error {
				if left--; left == 0 {
					cancel()
					n := r.IntN(len(msgs) + 1) // a prefix is taken
					_ = b.Publish(ctx, msgs[:n]...)
					return errDown
				}
				return b.Publish(ctx, msgs...)
			})
			go func() { // the end of the work
				b.until(t, func() bool { return ctx.Err() != nil || len(distinct(b.ids())) == keys*perKey })
				cancel()
			}()
			require.ErrorIs(t, o.Relay(ctx, pub), context.Canceled)
		}
		inOrder(t, b.all(), perKey)
	})
}

type publisher func(ctx context.Context, msgs ...messaging.Message) error

func (p publisher) Publish(ctx context.Context, msgs ...messaging.Message) error {
	return p(ctx, msgs...)
}

func TestTwoRelaysPublishEachMessageOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		const keys, perKey = 40, 50
		var lost int
		var mu sync.Mutex
		o := open(t, db, outbox.Config{Batch: 16, OnEvent: func(e outbox.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Err != nil {
				lost++
			}
		}})
		for n := range perKey {
			var msgs []messaging.Message
			for k := range keys {
				msgs = append(msgs, message(fmt.Sprint("key", k), n))
			}
			put(t, db, o, msgs...)
		}
		b := newBroker(nil)
		stop := []func(){relaying(t, o, b), relaying(t, open(t, db, outbox.Config{Batch: 16}), b)}
		b.has(t, keys*perKey)
		stop[0]()
		stop[1]()
		assert.Len(t, b.all(), keys*perKey, "repeats")
		inOrder(t, b.all(), perKey)
		assert.Zero(t, count(t, db, "keelson_outbox"))
		assert.Zero(t, lost, "claims with an error")
	})
}

// T35: a relay that stands still for longer than its lease loses its lanes. It
// wakes up, publishes what it holds, and deletes nothing.
func TestPausedRelayRepeatsInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		events := make(chan outbox.Event, 100)
		cfg := outbox.Config{Lease: 50 * time.Millisecond, Batch: 4}
		o := open(t, db, cfg)
		cfg.OnEvent = func(e outbox.Event) { events <- e }
		paused := open(t, db, cfg)
		for n := range 4 {
			put(t, db, o, message("a", n))
		}
		b := newBroker(nil)
		asleep, awake := make(chan struct{}), make(chan struct{})
		first := true
		stop := relaying(t, paused, publisher(func(ctx context.Context, msgs ...messaging.Message) error {
			if first {
				first = false
				_ = b.Publish(ctx, msgs[:2]...)
				close(asleep)
				<-awake
				return b.Publish(ctx, msgs[2:]...)
			}
			return b.Publish(ctx, msgs...)
		}))
		<-asleep
		assert.Equal(t, []string{"a-0", "a-1"}, b.ids())
		stopOther := relaying(t, o, b)
		b.has(t, 4)
		for n := 4; n < 6; n++ {
			put(t, db, o, message("a", n))
		}
		b.has(t, 6)
		stopOther()
		before := len(b.all())
		put(t, db, o, message("a", 6))
		close(awake)
		b.has(t, 7)
		stop()
		inOrder(t, b.all(), 7)
		e := <-events
		assert.ErrorContains(t, e.Err, "lost to another relay")
		assert.Equal(t, []string{"a-2", "a-3", "a-6"}, b.ids()[before:], "what it held, then what is left")
	})
}

// T35: a relay that wakes up while the next one holds its lanes neither deletes what
// that one has in hand nor gives its lanes free.
func TestWokenRelayLeavesTheNextOnesClaimAlone(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		events := make(chan outbox.Event, 100)
		first := open(t, db, outbox.Config{Lease: 50 * time.Millisecond, OnEvent: func(e outbox.Event) { events <- e }})
		second := open(t, db, outbox.Config{Lease: time.Hour})
		put(t, db, first, message("a", 0))
		held := func(o *outbox.Outbox) chan struct{} {
			begun, release := make(chan struct{}), make(chan struct{})
			once := sync.OnceFunc(func() { close(begun); <-release })
			relaying(t, o, publisher(func(context.Context, ...messaging.Message) error { once(); return nil }))
			<-begun
			return release
		}
		wake := held(first)
		goOn := held(second)
		close(wake)
		e := <-events
		for e.Err == nil { // on a slow machine its lease may end before it publishes
			assert.Equal(t, 0, e.Published)
			e = <-events
		}
		assert.ErrorContains(t, e.Err, "lost to another relay")
		assert.Equal(t, 1, count(t, db, "keelson_outbox"))
		assert.Equal(t, 1, count(t, db, "keelson_outbox_lanes WHERE claim <> ''"))
		close(goOn)
	})
}

func TestRelayOutlivesTheDatabase(t *testing.T) {
	server := engine.Postgres(t)
	db := openDB(t, "pgx", server.URL())
	failed := make(chan struct{}, 1)
	o := open(t, db, outbox.Config{Lease: 200 * time.Millisecond, OnEvent: func(e outbox.Event) {
		if e.Err != nil {
			select {
			case failed <- struct{}{}:
			default:
			}
		}
	}})
	b := newBroker(nil)
	put(t, db, o, message("a", 0))
	relaying(t, o, b)
	b.has(t, 1)
	require.NoError(t, server.Kill())
	<-failed
	require.NoError(t, server.Restart(t.Context()))
	other := openDB(t, "pgx", server.URL())
	put(t, other, o, message("a", 1))
	b.has(t, 2)
}

// A broker that takes longer for a batch than the lease gets smaller ones, and so
// each message is deleted at last.
func TestSlowBrokerGetsSmallerBatches(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o := open(t, db, outbox.Config{Lease: 400 * time.Millisecond, Batch: 64})
		b := newBroker(nil)
		for n := range 64 {
			put(t, db, o, message("a", n))
		}
		relaying(t, o, publisher(func(ctx context.Context, msgs ...messaging.Message) error {
			if len(msgs) > 8 {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return b.Publish(ctx, msgs...)
		}))
		b.has(t, 64)
		inOrder(t, b.all(), 64)
		parked, err := o.Parked(t.Context(), 0)
		require.NoError(t, err)
		assert.Empty(t, parked)
	})
}
