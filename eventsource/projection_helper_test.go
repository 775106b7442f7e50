package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
)

// ledger is Checkpoints with transactions, for what a SQL store does: what
// Apply wrote with write counts if and only if its checkpoint was saved.
type ledger struct {
	eventsource.Checkpoints

	mu   sync.Mutex
	rows []eventsource.Recorded
}

type ledgerTx struct{ rows []eventsource.Recorded }

type ledgerKey struct{}

func newLedger() *ledger { return &ledger{Checkpoints: eventsource.NewMemory()} }

func (l *ledger) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	tx := &ledgerTx{}
	err := l.Checkpoints.SaveCheckpoint(ctx, name, old, new, func(context.Context) error {
		if apply == nil {
			return nil
		}
		if err := apply(context.WithValue(ctx, ledgerKey{}, tx)); err != nil {
			return err
		}
		return context.Cause(ctx) // COMMIT fails, as that of a database does
	})
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rows = append(l.rows, tx.rows...)
	}
	return err
}

// write is an Apply whose writes are in the transaction of the checkpoint.
func write(ctx context.Context, b eventsource.Batch) error {
	tx, ok := ctx.Value(ledgerKey{}).(*ledgerTx)
	if !ok {
		return errors.New("no transaction in ctx")
	}
	tx.rows = append(tx.rows, b.Events...)
	return nil
}

func (l *ledger) all() []eventsource.Recorded {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.rows)
}

// exactly asserts that the ledger has the events of a store that match, each
// once, and each stream in order.
func (l *ledger) exactly(t testing.TB, s eventsource.Store, q eventsource.Query) {
	t.Helper()
	rows, want := l.all(), read(t, s, q)
	version := map[string]uint64{}
	for _, r := range rows {
		assert.True(t, r.Version > version[r.Stream], "%s: version %d after %d", r.Stream, r.Version, version[r.Stream])
		version[r.Stream] = r.Version
	}
	slices.SortFunc(rows, func(a, b eventsource.Recorded) int { return int(a.Position) - int(b.Position) })
	assert.Equal(t, fmt.Sprint(positions(want)), fmt.Sprint(positions(rows)))
}

// running is a Run in the background.
type running struct {
	stop func()
	done chan struct{}

	err    error
	thrown any
}

var errStopped = errors.New("stopped")

// start runs p until stop; err and thrown tell how it ended.
func start(ctx context.Context, p eventsource.Projection, s eventsource.Store, cps eventsource.Checkpoints) *running {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &running{stop: func() { cancel(errStopped) }, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer func() { r.thrown = recover() }()
		r.err = p.Run(ctx, s, cps)
	}()
	return r
}

// end stops the Run and waits for it.
func (r *running) end() error {
	r.stop()
	<-r.done
	return r.err
}

// log collects Progress.
type log struct {
	mu    sync.Mutex
	steps []eventsource.Progress
}

func (l *log) add(p eventsource.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = append(l.steps, p)
}

func (l *log) all() []eventsource.Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.steps)
}

// fill appends n deposits to each of the streams s0, s1 ...
func fill(t testing.TB, s eventsource.Store, streams, n int) (last eventsource.Position) {
	t.Helper()
	for i := range n {
		for k := range streams {
			last = put(t, s, fmt.Sprint("s", k), deposited{i}).Last
		}
	}
	return last
}
