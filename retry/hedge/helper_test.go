package hedge_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

const ms = time.Millisecond

var errDown = errors.New("connection refused")

// pushback is a failure that says when to come back, like a breaker's.
type pushback struct{}

func (pushback) Error() string             { return "circuit open" }
func (pushback) Retryable() bool           { return false }
func (pushback) RetryAfter() time.Duration { return time.Minute }

// script is how one attempt goes.
type script struct {
	takes    time.Duration
	err      error // nil: a success, whose value is 100 + Index
	leave    func()
	stubborn bool // does not obey its context
}

func ok(takes time.Duration) script               { return script{takes: takes} }
func fails(takes time.Duration, err error) script { return script{takes: takes, err: err} }

var (
	panics = func() { panic(errDown) }
	exits  = runtime.Goexit
)

// replay is one call of Do over scripts, and what became of it.
type replay struct {
	value   int
	err     error
	thrown  any  // what Do panicked with
	exited  bool // Do ended its goroutine
	took    time.Duration
	started []time.Duration // per attempt, by Index
	made    []int           // successes, in order
	dropped []int           // values given to discard
	running int             // attempts that had not returned when Do did
	alive   int             // attempt contexts that had not ended when Do did
}

// play runs Do in virtual time; attempt i follows scripts[i]. The caller's ctx
// is cancelled at the given time, if that is positive.
func play(t *testing.T, p *hedge.Policy, cancelAt time.Duration, scripts ...script) (r replay) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var contexts []context.Context
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if cancelAt > 0 {
			time.AfterFunc(cancelAt, cancel)
		}
		began := time.Now()
		fn := func(ctx context.Context) (int, error) {
			index := hedge.Index(ctx)
			mu.Lock()
			contexts = append(contexts, ctx)
			r.started = append(r.started, time.Since(began))
			r.running++
			mu.Unlock()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				r.running--
			}()
			s := scripts[index]
			if !sleep(ctx, s) {
				return -1, ctx.Err()
			}
			if s.leave != nil {
				s.leave()
			}
			if s.err != nil {
				return -1 - index, s.err
			}
			mu.Lock()
			defer mu.Unlock()
			r.made = append(r.made, 100+index)
			return 100 + index, nil
		}
		discard := func(v int) {
			mu.Lock()
			defer mu.Unlock()
			r.dropped = append(r.dropped, v)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			returned := false
			defer func() {
				r.thrown = recover()
				r.exited = !returned && r.thrown == nil
				r.took = time.Since(began)
				mu.Lock()
				defer mu.Unlock()
				for _, c := range contexts {
					if c.Err() == nil {
						r.alive++
					}
				}
			}()
			r.value, r.err = hedge.Do(ctx, p, fn, discard)
			returned = true
		}()
		<-done
		if r.running != 0 {
			t.Errorf("%d attempts still run", r.running)
		}
	})
	return r
}

// sleep is the attempt's work. It reports whether it was done.
func sleep(ctx context.Context, s script) bool {
	if s.stubborn {
		time.Sleep(s.takes)
		return true
	}
	timer := time.NewTimer(s.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
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

func (l *ledger) Withdraw(n int, err error) bool {
	l.note("withdraw %d %v", n, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left--
	return l.left >= 0
}

func (l *ledger) Refund(n int, err error) {
	l.note("refund %d %v", n, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left++
}

var _ retry.Budget = (*ledger)(nil)
