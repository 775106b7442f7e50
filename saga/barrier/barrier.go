package barrier

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/saga"
)

// ErrLate means that the action came after its undo, and did not run. It is a
// [saga.Refuse], so that a step which returns it has had no effect and is not
// retried.
var ErrLate = saga.Refuse(errors.New("barrier: the action came after its undo"))

// Guard is where calls leave their traces: a transaction, by [In], or memory, by
// [NewMemory].
type Guard struct{ b backend }

// backend is a set of rows, and what waits for whoever has one in hand.
type backend interface {
	// insert adds a row unless it is there; it waits for others who are adding it.
	insert(ctx context.Context, r row) (added bool, err error)
	// answer returns what a row holds, and what kind of row it is.
	answer(ctx context.Context, r row) (mark string, data []byte, err error)
	finish(ctx context.Context, r row, mark string, data []byte) error
	remove(ctx context.Context, r row) error
	// lock keeps other calls of the step away until unlock, where rows do not.
	lock(ctx context.Context, r row) (unlock func(), err error)
}

// row is the key of a trace.
type row struct {
	saga, step string
	undo       bool
}

// What a row says.
const (
	ran   = "ran"   // its call was run, and this is its answer
	empty = "empty" // of an undo that found nothing to undo
)

// Do calls fn once per c.Key. A duplicate does not run and gets the first answer,
// which is stored as JSON: T must encode, and survive it. An undo whose action never
// came does not run either and returns the zero T; the action that comes late gets
// [ErrLate].
//
// When fn fails, panics or leaves by Goexit, its trace is taken back, and on an error
// the caller must roll the transaction back; one that commits all the same loses
// what fn wrote before it failed, but no later attempt.
//
// Do costs three statements of the transaction, an undo four.
func Do[T any](ctx context.Context, g *Guard, c saga.Call, fn func(context.Context) (T, error)) (T, error) {
	var out T
	data, err := g.do(ctx, c, func(ctx context.Context) ([]byte, error) {
		v, err := fn(ctx)
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("barrier: the answer of %s does not encode: %w", c.Key(), err)
		}
		out = v
		return data, nil
	})
	if err != nil {
		var zero T
		return zero, err
	}
	if data != nil {
		if err := json.Unmarshal(data, &out); err != nil {
			var zero T
			return zero, fmt.Errorf("barrier: the stored answer of %s: %w", c.Key(), err)
		}
	}
	return out, nil
}

// Run is [Do] without an answer.
func Run(ctx context.Context, g *Guard, c saga.Call, fn func(context.Context) error) error {
	_, err := g.do(ctx, c, func(ctx context.Context) ([]byte, error) { return []byte("null"), fn(ctx) })
	return err
}

// do returns the stored answer of a duplicate, nil after fn has run or nothing was
// to be undone.
func (g *Guard) do(ctx context.Context, c saga.Call, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	if c.Saga == "" || c.Step == "" {
		return nil, fmt.Errorf("barrier: Call is %+v: want one with Saga and Step, as saga.CallFrom gives within a step", c)
	}
	r := row{c.Saga, c.Step, c.Undo}
	unlock, err := g.b.lock(ctx, r)
	if err != nil {
		return nil, failed(c, err)
	}
	defer unlock()
	if c.Undo {
		action := row{c.Saga, c.Step, false}
		never, err := g.b.insert(ctx, action)
		if err != nil {
			return nil, failed(c, err)
		}
		if never {
			return nil, failed(c, g.bar(ctx, action, r))
		}
	}
	added, err := g.b.insert(ctx, r)
	if err != nil {
		return nil, failed(c, err)
	}
	if !added {
		return g.repeat(ctx, c, r)
	}
	return nil, g.run(ctx, c, r, fn)
}

// bar keeps an action out whose undo came first.
func (g *Guard) bar(ctx context.Context, action, undo row) error {
	if _, err := g.b.insert(ctx, undo); err != nil {
		return err
	}
	if err := g.b.finish(ctx, undo, empty, nil); err != nil {
		return err
	}
	return g.b.finish(ctx, action, empty, nil)
}

// repeat answers a duplicate.
func (g *Guard) repeat(ctx context.Context, c saga.Call, r row) ([]byte, error) {
	mark, data, err := g.b.answer(ctx, r)
	switch {
	case err != nil:
		return nil, failed(c, err)
	case mark == empty && !c.Undo:
		return nil, fmt.Errorf("%w: %s", ErrLate, c.Key())
	case mark == "":
		return nil, fmt.Errorf("barrier: %s is running in this transaction", c.Key())
	}
	return data, nil
}

// run calls fn. Whatever way it leaves but with success, its row goes: a caller may
// commit although fn failed.
func (g *Guard) run(ctx context.Context, c saga.Call, r row, fn func(context.Context) ([]byte, error)) (err error) {
	done := false
	defer func() {
		if !done {
			if e := g.b.remove(context.WithoutCancel(ctx), r); e != nil && err != nil {
				err = errors.Join(err, failed(c, e))
			}
		}
	}()
	data, err := fn(ctx)
	if err != nil {
		return err
	}
	if err := g.b.finish(ctx, r, ran, data); err != nil {
		return failed(c, err)
	}
	done = true
	return nil
}

func failed(c saga.Call, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("barrier: %s: %w", c.Key(), err)
}

// In returns a guard whose traces are rows of table keelson_barrier, written in tx:
// they exist if and only if the effect does. Cheap; make one per transaction. It
// works on Postgres (READ COMMITTED, the default) and SQLite, see [Setup]. On SQLite
// begin with BEGIN IMMEDIATE where several connections write, lest the first
// statement find the database locked.
func In(tx *sql.Tx) *Guard { return &Guard{&rows{tx: tx}} }

// NewMemory returns a guard without a database, for tests and for participants that
// live and die with their process. It is safe for concurrent use; calls of one step
// wait for each other. It forgets calls older than keep, which has to be longer than
// any message can be late. Zero means never.
func NewMemory(keep time.Duration) *Guard { return &Guard{newMemory(keep)} }
