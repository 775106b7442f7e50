package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	_ "github.com/lib/pq"              // registers the driver "postgres"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/internal/verify/internal/pg"
)

type backend struct {
	name string
	// source makes an empty database, and returns what opens it.
	source func(t *testing.T) (driver, source string)
}

// backends is completed by mattn_test.go where cgo builds.
var backends = []backend{
	{"postgres-pgx", func(t *testing.T) (string, string) { return "pgx", pg.Database(t) }},
	{"postgres-pq", func(t *testing.T) (string, string) { return "postgres", pg.Database(t) }},
	{"sqlite-modernc", func(t *testing.T) (string, string) {
		return "sqlite", "file:" + t.TempDir() + "/outbox.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(20000)"
	}},
}

// onEach runs a test on every backend.
func onEach(t *testing.T, test func(t *testing.T, db *sql.DB)) {
	onEachSource(t, func(t *testing.T, driver, source string) { test(t, openDB(t, driver, source)) })
}

// onEachSource is onEach for a test that opens the database itself. The backends are
// tested beside each other: most of the time something waits for a lease or a poll.
func onEachSource(t *testing.T, test func(t *testing.T, driver, source string)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			driver, source := b.source(t)
			t.Parallel()
			test(t, driver, source)
		})
	}
}

func openDB(t *testing.T, driver, source string) *sql.DB {
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// open makes the tables, if they are not there, and an Outbox on them.
func open(t *testing.T, db *sql.DB, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	if cfg.Poll == 0 {
		cfg.Poll = 5 * time.Millisecond
	}
	require.NoError(t, outbox.Setup(t.Context(), db, cfg))
	o, err := outbox.Open(t.Context(), db, cfg)
	require.NoError(t, err)
	return o
}

// put puts messages in a transaction of its own.
func put(t *testing.T, db *sql.DB, o *outbox.Outbox, msgs ...messaging.Message) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, o.Put(t.Context(), tx, msgs...))
	require.NoError(t, tx.Commit())
	o.Wake()
}

// message is number n of a key.
func message(key string, n int) messaging.Message {
	return messaging.Message{ID: fmt.Sprintf("%s-%d", key, n), Topic: "orders", Key: key, Body: fmt.Append(nil, n)}
}

// broker is a Publisher that remembers what it took.
type broker struct {
	mu    sync.Mutex
	took  []messaging.Message
	calls int
	fail  func(msgs []messaging.Message) error // nil: takes everything
	at    chan struct{}                        // is sent to after each call, if there is room
}

func newBroker(fail func(msgs []messaging.Message) error) *broker {
	return &broker{fail: fail, at: make(chan struct{}, 1)}
}

func (b *broker) Publish(_ context.Context, msgs ...messaging.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	defer func() {
		select {
		case b.at <- struct{}{}:
		default:
		}
	}()
	if b.fail != nil {
		if err := b.fail(msgs); err != nil {
			return err
		}
	}
	b.took = append(b.took, msgs...)
	return nil
}

func (b *broker) all() []messaging.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]messaging.Message(nil), b.took...)
}

func (b *broker) ids() (ids []string) {
	for _, m := range b.all() {
		ids = append(ids, m.ID)
	}
	return ids
}

// until waits for calls until ok.
func (b *broker) until(t *testing.T, ok func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-b.at:
		case <-limit:
			require.FailNow(t, "the broker was not called as expected", "it took %d messages", len(b.all()))
		}
	}
}

// has waits until the broker has taken n different messages.
func (b *broker) has(t *testing.T, n int) {
	t.Helper()
	b.until(t, func() bool { return len(distinct(b.ids())) >= n })
}

func distinct(ids []string) map[string]bool {
	all := make(map[string]bool)
	for _, id := range ids {
		all[id] = true
	}
	return all
}

// relaying runs a relay; stop ends it and waits.
func relaying(t *testing.T, o *outbox.Outbox, pub messaging.Publisher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Relay(ctx, pub) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
	t.Cleanup(stop)
	return stop
}

// inOrder checks that the first deliveries of each key count 0, 1, 2 ...
func inOrder(t *testing.T, msgs []messaging.Message, perKey int) {
	t.Helper()
	next := make(map[string]int)
	seen := make(map[string]bool)
	for _, m := range msgs {
		if seen[m.ID] {
			continue
		}
		seen[m.ID] = true
		require.Equal(t, fmt.Sprint(next[m.Key]), string(m.Body), "the next first delivery of key %s", m.Key)
		next[m.Key]++
	}
	for key, n := range next {
		assert.Equal(t, perKey, n, "messages of key %s", key)
	}
}

func count(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

var errDown = errors.New("the broker is down")
