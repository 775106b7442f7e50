package consume

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
)

// What the broker has taken back is not handled again here, and its key is free.
func TestItemsThatAreGoneAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q, m := NewQueue[string](), member(1)
		var handled []string
		var gone atomic.Bool
		m.Gone = func(v string) bool { return v != "new" && gone.Load() }
		m.Handle = func(_ context.Context, v string, _ int) error {
			handled = append(handled, v)
			if v == "runs" {
				gone.Store(true) // the session breaks in mid-handler
				q.Push("new", "k", 0)
				return errFails
			}
			return nil
		}
		q.Push("runs", "k", 0)
		q.Push("behind", "k", 0)
		go func() { _ = m.Run(ctx, q) }()
		synctest.Wait()
		assert.Equal(t, []string{"runs", "new"}, handled)
		assert.Equal(t, 0, q.Len())
	})
}

// A dead letter that is out and cannot be acknowledged is not published again by
// this member: the broker delivers the message once more.
func TestDeadLetterIsPublishedOnceThoughItsAcknowledgementFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q, m := NewQueue[string](), member(1)
		buried, errAck := 0, errors.New("the session is gone")
		m.MaxAttempts = 1
		m.Handle = func(context.Context, string, int) error { return errFails }
		m.Bury = func(context.Context, string, int, error) error { buried++; return nil }
		m.Ack = func(context.Context, string) error { return errAck }
		m.Observe = func(_ string, o Outcome) {
			assert.True(t, o.DeadLettered)
			assert.ErrorIs(t, o.Err, errAck)
			assert.ErrorIs(t, o.Err, errFails)
		}
		q.Push("poison", "", 0)
		go func() { _ = m.Run(ctx, q) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, 1, buried)
		assert.Equal(t, 0, q.Len())
	})
}

type later time.Duration

func (later) Error() string               { return "later" }
func (l later) RetryAfter() time.Duration { return time.Duration(l) }

func TestMaxWaitCutsWhatAnErrorAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, m := NewQueue[string](), member(1)
		m.MaxWait = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		m.Handle = func(_ context.Context, _ string, attempt int) error {
			if attempt == 1 {
				return later(time.Hour)
			}
			cancel()
			return nil
		}
		q.Push("1", "", 0)
		_ = m.Run(ctx, q)
		assert.Equal(t, time.Minute, time.Since(began))
	})
}

// A worker does not wait for a key that another queue's item holds: it goes on
// with other keys.
func TestBusyKeyOfAnotherQueueHoldsUpNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b, m := NewQueue[string](), NewQueue[string](), member(2)
		release, others := make(chan struct{}), make(chan string, 8)
		m.Handle = func(_ context.Context, v string, _ int) error {
			if v == "long" {
				<-release
			}
			others <- v
			return nil
		}
		a.Push("long", "k", 0)
		b.Push("same key", "k", 0)
		b.Push("other key", "l", 0)
		ended := make(chan error)
		go func() { ended <- m.Run(ctx, a, b) }()
		synctest.Wait()
		assert.Equal(t, 1, len(others))
		assert.Equal(t, "other key", <-others)
		close(release)
		synctest.Wait()
		assert.Equal(t, "long", <-others)
		assert.Equal(t, "same key", <-others)
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
		assert.Equal(t, 0, a.Len()+b.Len())
	})
}

// What waits for a key when the member ends goes back to its queue, uncounted.
func TestItemsThatWaitForAKeyAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b, m := NewQueue[string](), NewQueue[string](), member(2)
		m.Handle = func(ctx context.Context, _ string, _ int) error {
			<-ctx.Done()
			return nil
		}
		a.Push("long", "k", 0)
		b.Push("waits", "k", 0)
		ended := make(chan error)
		go func() { ended <- m.Run(ctx, a, b) }()
		synctest.Wait()
		cancel()
		<-ended
		left := append(a.Close(), b.Close()...)
		assert.Equal(t, 1, len(left))
		assert.Equal(t, 0, left[0].Attempts)
	})
}
