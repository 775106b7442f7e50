package outbox

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
)

type final struct{ after time.Duration }

func (final) Error() string               { return "never" }
func (final) Retryable() bool             { return false }
func (f final) RetryAfter() time.Duration { return f.after }

// poison fails every call with a message of this ID.
func poison(id string, err error) func(msgs []messaging.Message) error {
	return func(msgs []messaging.Message) error {
		for _, m := range msgs {
			if m.ID == id {
				return err
			}
		}
		return nil
	}
}

func TestPoisonIsParkedAndOthersGoOn(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		events := make(chan outbox.Event, 10_000)
		o := open(t, db, outbox.Config{MaxAttempts: 3, OnEvent: func(e outbox.Event) { events <- e }})
		b := newBroker(poison("bad-1", errors.New("too large\x00\xff")))
		put(t, db, o, message("bad", 0), message("bad", 1), message("bad", 2))
		stop := relaying(t, o, b)
		parked := 0
		for n := 0; parked == 0; n++ {
			put(t, db, o, message("good", n))
			b.until(t, func() bool { return distinct(b.ids())[fmt.Sprint("good-", n)] })
			next := distinct(b.ids())["bad-2"] // before the events, which tell of the parking first
			for len(events) > 0 {
				parked += (<-events).Parked
			}
			if parked == 0 {
				assert.False(t, next, "its key waits")
			}
		}
		b.until(t, func() bool { return distinct(b.ids())["bad-2"] })
		stop()
		assert.Equal(t, 1, parked)
		got, err := o.Parked(t.Context(), 1)
		require.NoError(t, err)
		require.Len(t, got, 1)
		assert.Equal(t, message("bad", 1), got[0].Message)
		assert.Equal(t, 3, got[0].Attempts)
		assert.Equal(t, "too large\uFFFD\uFFFD", got[0].Err)
		assert.WithinDuration(t, time.Now(), got[0].Since, time.Minute)

		n, err := o.Unpark(t.Context(), "another")
		require.NoError(t, err)
		assert.Zero(t, n)
		n, err = o.Unpark(t.Context(), "bad-1")
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		mended := newBroker(nil)
		relaying(t, o, mended)
		mended.until(t, func() bool { return distinct(mended.ids())["bad-1"] })
		got, err = o.Parked(t.Context(), 0)
		require.NoError(t, err)
		assert.Empty(t, got)
	})
}

// What can never be taken is parked at once; a rejection that says when to come
// back, as that of an open breaker, is not final.
func TestFinalErrorsParkAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o := open(t, db, outbox.Config{})
		b := newBroker(poison("bad-0", fmt.Errorf("wrapped: %w", final{})))
		put(t, db, o, message("bad", 0), message("bad", 1), message("good", 0))
		stop := relaying(t, o, b)
		b.has(t, 2)
		stop()
		parked, err := o.Parked(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, parked, 1)
		assert.Equal(t, "bad-0", parked[0].ID)
		n, err := o.Unpark(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, n)

		rejected := 0
		b = newBroker(func([]messaging.Message) error {
			if rejected++; rejected < 5 {
				return final{after: time.Millisecond}
			}
			return nil
		})
		relaying(t, o, b)
		b.has(t, 1)
		parked, err = o.Parked(t.Context(), 0)
		require.NoError(t, err)
		assert.Empty(t, parked)
	})
}

// T35: an outage parks nothing, whatever MaxAttempts is and however many relays
// begin and end in it, and afterwards all go in order.
func TestOutageParksNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		const keys, perKey = 20, 10
		down := true
		b := newBroker(func([]messaging.Message) error {
			if down {
				return errDown
			}
			return nil
		})
		o := open(t, db, outbox.Config{MaxAttempts: 1, Poll: time.Millisecond})
		for n := range perKey {
			for k := range keys {
				put(t, db, o, message(fmt.Sprint("key", k), n))
			}
		}
		for range 3 {
			from := b.calls
			stop := relaying(t, o, b)
			b.until(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.calls > from+150 })
			stop()
		}
		parked, err := o.Parked(t.Context(), 0)
		require.NoError(t, err)
		assert.Empty(t, parked)
		assert.Empty(t, b.all())
		down = false
		relaying(t, o, b)
		b.has(t, keys*perKey)
		inOrder(t, b.all(), perKey)
	})
}

// More poison than a batch holds does not keep the rest from going.
func TestPoisonCannotFillTheLine(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o := open(t, db, outbox.Config{Batch: 4, MaxAttempts: 2, Poll: 20 * time.Millisecond})
		b := newBroker(func(msgs []messaging.Message) error {
			for _, m := range msgs {
				if m.Topic == "bad" {
					return errDown
				}
			}
			return nil
		})
		for n := range 40 {
			put(t, db, o, messaging.Message{ID: fmt.Sprint("bad-", n), Topic: "bad"})
		}
		put(t, db, o, message("good", 0), message("good", 1))
		relaying(t, o, b)
		b.has(t, 2)
		inOrder(t, b.all(), 2)
	})
}

func TestParkedRefusesNegativeLimits(t *testing.T) {
	db := openDB(t, "sqlite", "file:"+t.TempDir()+"/outbox.db")
	_, err := open(t, db, outbox.Config{}).Parked(t.Context(), -1)
	require.ErrorIs(t, err, messaging.ErrInvalid)
}
