package saga

import (
	"context"
	"errors"
	"sync"
	"time"
)

// callContext is the context of one attempt: no allocation where a step does not look
// at Done, and what package context makes of it where it does. It may be kept by who
// got it, so each serves one attempt, and it is small.
type callContext struct {
	values   context.Context // Serve's
	call     Call
	deadline time.Time // zero: none
	done     bool      // an Undo, of a step that is known to be done

	mu   sync.Mutex
	late *lateContext // once somebody has asked for it, or it was ended
	over bool         // the call has returned: nothing may begin that nobody would end
}

// lateContext carries the cause and is the parent of contexts derived from a
// callContext.
type lateContext struct {
	inner context.Context
	end   context.CancelCauseFunc
	stop  context.CancelFunc
	cause error // why it was ended by cancel
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

func (c *callContext) Done() <-chan struct{} { return c.std().Done() }

func (c *callContext) Err() error {
	c.mu.Lock()
	asked := c.late != nil || c.over
	c.mu.Unlock()
	if asked || !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return c.std().Err() // decided once and for all
	}
	return nil
}

func (c *callContext) Value(key any) any {
	switch key {
	case callKey{}:
		return &c.call
	case doneKey{}:
		return c.done
	}
	return c.std().Value(key)
}

// std makes the context of package context, once.
func (c *callContext) std() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stdLocked().inner
}

func (c *callContext) stdLocked() *lateContext {
	if c.late != nil {
		return c.late
	}
	c.late = &lateContext{}
	ctx := context.WithoutCancel(c.values)
	if !c.deadline.IsZero() && !c.over {
		ctx, c.late.stop = context.WithDeadline(ctx, c.deadline)
	}
	c.late.inner, c.late.end = context.WithCancelCause(ctx)
	if c.over {
		c.late.end(errReturned)
	}
	return c.late
}

// cancel ends the context of a call that runs; the first cause stays.
func (c *callContext) cancel(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if late := c.stdLocked(); late.cause == nil {
		late.cause = cause
		late.end(cause)
	}
}

// release frees what the context holds once the call has returned.
func (c *callContext) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over = true; c.late == nil {
		return
	}
	c.late.end(errReturned)
	if c.late.stop != nil {
		c.late.stop()
	}
}

var errReturned = errors.New("saga: the call has returned")
