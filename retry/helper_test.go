package retry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/retry"
)

var errDown = errors.New("connection refused")

// always fails with err and counts the calls.
func always(calls *int, err error) func(context.Context) error {
	return func(context.Context) error {
		*calls++
		return err
	}
}

// inBubble runs fn in virtual time and returns how long it took there.
func inBubble(t *testing.T, fn func(t *testing.T)) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fn(t)
		took = time.Since(began)
	})
	return took
}

// ledger is a Budget that notes what it is told and grants what is left.
type ledger struct {
	mu    sync.Mutex
	left  int
	lines []string
}

func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *ledger) Success(n int)            { l.note("success %d", n) }
func (l *ledger) Failure(n int, err error) { l.note("failure %d %v", n, err) }
func (l *ledger) Refund(n int, err error) {
	l.note("refund %d %v", n, err)
	l.left++
}

func (l *ledger) Withdraw(n int, err error) bool {
	l.note("withdraw %d %v", n, err)
	l.left--
	return l.left >= 0
}

// events collects what OnEvent is told.
type events []retry.Event

func (e *events) add(_ context.Context, event retry.Event) { *e = append(*e, event) }
