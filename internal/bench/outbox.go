package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
)

// outboxRows put messages of 256 bytes into Postgres with fsync, in transactions
// that insert a row of their own, and relay them to a broker that takes everything
// at once, so that the relay is what is measured.
func outboxRows() []row {
	return []row{{
		name: "messaging: outbox, a transaction with a row and a message", ours: putting(putOurs), allocs: 300,
		peers: []peer{
			{"watermill-sql v4.1.2, forwarder.Publisher", putting(putWatermill), 0},
			{"the row alone", putting(func(*testing.B, *sql.DB) putter { return nil }), 0},
		},
	}, {
		name: "messaging: outbox, relay, per message", ours: relaying(relayOurs), allocs: 300,
		peers: []peer{
			{"watermill-sql v4.1.2, forwarder, batches of 256", relaying(relayWatermill), 0.5},
			{"a bare loop: SELECT of 256, DELETE, COMMIT", relaying(relayBare), 1.67},
		},
	}, {
		name: "messaging: outbox to a handler on Memory, one at a time", ours: func(b *testing.B) { oneAtATime(b, outboxLine) }, allocs: 1000,
	}}
}

// outboxDB opens the database that all rows share, with a table of orders.
func outboxDB(b *testing.B) *sql.DB {
	db, err := sql.Open("pgx", startedPostgres(b).URL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	if _, err := db.ExecContext(b.Context(), "CREATE TABLE IF NOT EXISTS bench_orders (id bigserial PRIMARY KEY, cents bigint NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	return db
}

// fresh is a name that no row has used.
func fresh(begin string) string { return fmt.Sprintf("%s%d_", begin, prefixes.Add(1)) }

// A putter stores a message in a transaction.
type putter func(ctx context.Context, tx *sql.Tx, i int) error

// putting measures whole transactions, one after another.
func putting(open func(b *testing.B, db *sql.DB) putter) func(b *testing.B) {
	return func(b *testing.B) {
		db := outboxDB(b)
		put, ctx, i := open(b, db), context.Background(), 0
		for b.Loop() {
			i++
			err := inTransaction(ctx, db, func(tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, "INSERT INTO bench_orders (cents) VALUES ($1)", i); err != nil || put == nil {
					return err
				}
				return put(ctx, tx, i)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func inTransaction(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func openOutbox(b *testing.B, db *sql.DB) *outbox.Outbox {
	cfg := outbox.Config{Prefix: fresh("box")}
	if err := outbox.Setup(b.Context(), db, cfg); err != nil {
		b.Fatal(err)
	}
	o, err := outbox.Open(b.Context(), db, cfg)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func orderMessage(i int) messaging.Message {
	return messaging.Message{Topic: "orders", Key: fmt.Sprint("order-", i%1000), Body: messageBody}
}

func putOurs(b *testing.B, db *sql.DB) putter {
	o := openOutbox(b, db)
	return func(ctx context.Context, tx *sql.Tx, i int) error { return o.Put(ctx, tx, orderMessage(i)) }
}

// forwarding is a topic of watermill's, whose table exists.
func forwarding(b *testing.B, db *sql.DB) (topic string) {
	topic = fresh("forward")
	setup, err := watermillSubscriber(db)
	if err == nil {
		err = setup.SubscribeInitialize(topic)
	}
	if err != nil {
		b.Fatal(err)
	}
	return topic
}

func watermillSubscriber(db *sql.DB) (*watermillsql.Subscriber, error) {
	return watermillsql.NewSubscriber(watermillsql.BeginnerFromStdSQL(db), watermillsql.SubscriberConfig{
		ConsumerGroup: "forwarder", PollInterval: 10 * time.Millisecond,
		SchemaAdapter:  watermillsql.DefaultPostgreSQLSchema{SubscribeBatchSize: 256},
		OffsetsAdapter: watermillsql.DefaultPostgreSQLOffsetsAdapter{},
	}, watermill.NopLogger{})
}

// forward stores messages as watermill's documentation of the outbox does.
func forward(tx *sql.Tx, topic string, msgs ...*message.Message) error {
	inner, err := watermillsql.NewPublisher(watermillsql.TxFromStdSQL(tx), watermillsql.PublisherConfig{
		SchemaAdapter: watermillsql.DefaultPostgreSQLSchema{},
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	return forwarder.NewPublisher(inner, forwarder.PublisherConfig{ForwarderTopic: topic}).Publish("orders", msgs...)
}

func putWatermill(b *testing.B, db *sql.DB) putter {
	topic := forwarding(b, db)
	return func(_ context.Context, tx *sql.Tx, _ int) error {
		return forward(tx, topic, message.NewMessage(watermill.NewUUID(), messageBody))
	}
}

// A relay carries what put has stored to a counting broker.
type relay struct {
	put  func(ctx context.Context, tx *sql.Tx, n int) error // n messages
	wake func()                                             // after the COMMIT; nil: it polls
	run  func(ctx context.Context) error                    // until ctx ends
}

// counting is the broker: it counts, and tells when it has enough.
type counting struct {
	n, want atomic.Int64
	full    chan struct{}
}

func (s *counting) take(n int) {
	if s.n.Add(int64(n)) == s.want.Load() {
		s.full <- struct{}{}
	}
}

func (s *counting) Publish(_ context.Context, msgs ...messaging.Message) error {
	s.take(len(msgs))
	return nil
}

// relaying measures b.N messages from the COMMIT of a transaction that holds them
// all until the broker has the last. One message before shows that the relay runs.
func relaying(open func(b *testing.B, db *sql.DB, s *counting) relay) func(b *testing.B) {
	return func(b *testing.B) {
		db, s := outboxDB(b), &counting{full: make(chan struct{}, 1)}
		r := open(b, db, s)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.run(ctx) }()
		for _, n := range []int{1, b.N} {
			s.want.Add(int64(n))
			err := inTransaction(ctx, db, func(tx *sql.Tx) error {
				err := r.put(ctx, tx, n)
				b.ResetTimer()
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			if r.wake != nil {
				r.wake()
			}
			<-s.full
		}
		b.StopTimer()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	}
}

func relayOurs(b *testing.B, db *sql.DB, s *counting) relay {
	o := openOutbox(b, db)
	return relay{
		put: func(ctx context.Context, tx *sql.Tx, n int) error {
			msgs := make([]messaging.Message, n)
			for i := range msgs {
				msgs[i] = orderMessage(i)
			}
			return o.Put(ctx, tx, msgs...)
		},
		wake: o.Wake,
		run:  func(ctx context.Context) error { return o.Relay(ctx, s) },
	}
}

// watermillCounting is counting as a Publisher of watermill's.
type watermillCounting struct{ *counting }

func (s watermillCounting) Publish(_ string, msgs ...*message.Message) error {
	s.take(len(msgs))
	return nil
}

func (watermillCounting) Close() error { return nil }

func relayWatermill(b *testing.B, db *sql.DB, s *counting) relay {
	topic := forwarding(b, db)
	sub, err := watermillSubscriber(db)
	if err != nil {
		b.Fatal(err)
	}
	f, err := forwarder.NewForwarder(sub, watermillCounting{s}, watermill.NopLogger{}, forwarder.Config{ForwarderTopic: topic})
	if err != nil {
		b.Fatal(err)
	}
	return relay{
		put: func(_ context.Context, tx *sql.Tx, n int) error {
			const chunk = 1000
			for n > 0 {
				msgs := make([]*message.Message, min(n, chunk))
				for i := range msgs {
					msgs[i] = message.NewMessage(watermill.NewUUID(), messageBody)
				}
				if err := forward(tx, topic, msgs...); err != nil {
					return err
				}
				n -= len(msgs)
			}
			return nil
		},
		run: func(ctx context.Context) error { return errors.Join(f.Run(ctx), sub.Close()) },
	}
}

// relayBare is the loop that one writes by hand, for one process and no failures.
func relayBare(b *testing.B, db *sql.DB, s *counting) relay {
	table := fresh("bare") + "outbox"
	_, err := db.ExecContext(b.Context(), "CREATE TABLE "+table+" (seq bigserial PRIMARY KEY, id uuid, topic text, key text, headers text, body bytea)")
	if err != nil {
		b.Fatal(err)
	}
	return relay{
		put: func(ctx context.Context, tx *sql.Tx, n int) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO "+table+" (id, topic, key, body) SELECT gen_random_uuid(), 'orders', 'order-' || n % 1000, $2 FROM generate_series(1, $1::int) AS n", n, messageBody)
			return err
		},
		run: func(ctx context.Context) error {
			for ctx.Err() == nil {
				n, err := bareRound(ctx, db, table, s)
				if err != nil && ctx.Err() == nil { // else it was cut off in the middle
					return err
				}
				if n == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			return nil
		},
	}
}

func bareRound(ctx context.Context, db *sql.DB, table string, s *counting) (n int, err error) {
	err = inTransaction(ctx, db, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, id, topic, key, headers, body FROM "+table+" ORDER BY seq LIMIT 256")
		if err != nil {
			return err
		}
		defer rows.Close()
		var msgs []messaging.Message
		var seqs []string
		for rows.Next() {
			var m messaging.Message
			var seq string
			var headers sql.NullString
			if err := rows.Scan(&seq, &m.ID, &m.Topic, &m.Key, &headers, &m.Body); err != nil {
				return err
			}
			msgs, seqs = append(msgs, m), append(seqs, seq)
		}
		if err := rows.Err(); err != nil || len(msgs) == 0 {
			return err
		}
		n = len(msgs)
		if err := s.Publish(ctx, msgs...); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE seq = ANY ($1::bigint[])", "{"+strings.Join(seqs, ",")+"}")
		return err
	})
	return n, err
}

// outboxLine is Put, COMMIT, the relay, and a handler on the broker in memory.
func outboxLine(b *testing.B) (line, func()) {
	db := outboxDB(b)
	o, m := openOutbox(b, db), messaging.NewMemory(messaging.Config{Retain: 1})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = o.Relay(ctx, m)
	}()
	return broker(b, boxed{db, o}, m, nil, func() { cancel(); <-ended })
}

// boxed publishes by way of the outbox.
type boxed struct {
	db *sql.DB
	o  *outbox.Outbox
}

func (x boxed) Publish(ctx context.Context, msgs ...messaging.Message) error {
	err := inTransaction(ctx, x.db, func(tx *sql.Tx) error { return x.o.Put(ctx, tx, msgs...) })
	x.o.Wake()
	return err
}
