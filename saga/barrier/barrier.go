package barrier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/saga"
)

// ErrLate is returned for an action that comes after its undo. It is a
// [saga.Refuse]: the action has had no effect, and will have none.
var ErrLate = saga.Refuse(errors.New("barrier: the action came after its undo"))

// Guard keeps the rows of one transaction ([In]) or of one process ([NewMemory]).
type Guard struct{ rows rows }

// rows is where a Guard remembers.
type rows interface {
	// enter inserts the row of a call. If it is there already it is returned, after
	// a transaction that has just inserted it has ended.
	enter(ctx context.Context, k key, late bool) (found *row, err error)
	// answer stores the call's answer in its row; nil is that there was nothing to do.
	answer(ctx context.Context, k key, answer []byte) error
	// leave deletes the row of a call that failed.
	leave(ctx context.Context, k key) error
}

type key struct{ saga, step, kind string }

type row struct {
	late   bool // of an action: its undo was here first
	answer []byte
}

const (
	kindDo   = "do"
	kindUndo = "undo"
)

// Do calls fn once per [saga.Call.Key]. A duplicate gets the first answer, which is
// stored as JSON; an undo whose action never came gets the zero T. If fn fails,
// panics or exits, its row is deleted again, also where the caller commits all the
// same; yet on an error the caller must roll its transaction back, since fn may
// have written half of what it does.
func Do[T any](ctx context.Context, g *Guard, c saga.Call, fn func(context.Context) (T, error)) (answer T, err error) {
	if c.Saga == "" || c.Step == "" {
		return answer, fmt.Errorf("barrier: Call is %q of saga %q: want the names of both", c.Step, c.Saga)
	}
	k := key{c.Saga, c.Step, kindDo}
	found, err := g.rows.enter(ctx, k, c.Undo)
	if err != nil {
		return answer, fmt.Errorf("barrier: %s: %w", c.Key(), err)
	}
	switch {
	case c.Undo && found == nil:
		// The action never came. Its row is there now, so that it never will.
		k.kind = kindUndo
		if _, err = g.rows.enter(ctx, k, false); err == nil {
			err = g.rows.answer(ctx, k, nil)
		}
		return answer, wrap(c, err)
	case c.Undo:
		k.kind = kindUndo
		if found, err = g.rows.enter(ctx, k, false); err != nil {
			return answer, wrap(c, err)
		}
	case found != nil && found.late:
		return answer, ErrLate
	}
	if found != nil {
		return repeat[T](c, found.answer)
	}
	return first(ctx, g, c, k, fn)
}

func wrap(c saga.Call, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("barrier: %s: %w", c.Key(), err)
}

func repeat[T any](c saga.Call, stored []byte) (answer T, err error) {
	if stored == nil {
		return answer, nil
	}
	if err := json.Unmarshal(stored, &answer); err != nil {
		return answer, fmt.Errorf("barrier: the stored answer of %s: %w", c.Key(), err)
	}
	return answer, nil
}

func first[T any](ctx context.Context, g *Guard, c saga.Call, k key, fn func(context.Context) (T, error)) (answer T, err error) {
	done := false
	defer func() {
		if done {
			return
		}
		// In a transaction that the database has aborted this fails, and need not work.
		if gone := g.rows.leave(context.WithoutCancel(ctx), k); gone != nil && err == nil {
			err = wrap(c, gone)
		}
	}()
	answer, err = fn(ctx)
	if err != nil {
		return answer, err
	}
	stored, err := json.Marshal(answer)
	if err != nil {
		return answer, fmt.Errorf("barrier: the answer of %s does not encode: %w", c.Key(), err)
	}
	if err := g.rows.answer(ctx, k, stored); err != nil {
		return answer, wrap(c, err)
	}
	done = true
	return answer, nil
}

// Run is [Do] without an answer.
func Run(ctx context.Context, g *Guard, c saga.Call, fn func(context.Context) error) error {
	_, err := Do(ctx, g, c, func(ctx context.Context) (struct{}, error) { return struct{}{}, fn(ctx) })
	return err
}
