package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Call names one attempt at a step's Do or Undo. It travels to participants as
// JSON or as header text, "order-17/pay do 2 5".
type Call struct {
	Saga string `json:"saga"`
	Step string `json:"step"`
	Undo bool   `json:"undo,omitempty"`

	// Attempt counts from 1, without wake-ups and crashes.
	Attempt int `json:"attempt"`

	// Epoch grows with every takeover.
	Epoch uint64 `json:"epoch"`

	// Signal, Payload and TimedOut say what ended the last wait. They stay until
	// the call parks again, also over retries and takeovers.
	Signal   string          `json:"signal,omitempty"`
	Payload  json.RawMessage `json:"payload,omitempty"`
	TimedOut bool            `json:"timed_out,omitempty"`
}

// Key is the same for every attempt at the call, over retries, crashes and owners:
// "order-17/pay", or "order-17/pay#undo". It is what a participant deduplicates by.
func (c Call) Key() string {
	if c.Undo {
		return c.Saga + "/" + c.Step + "#undo"
	}
	return c.Saga + "/" + c.Step
}

// MarshalText writes "saga/step do attempt epoch", or undo. What ended a wait is
// left out.
func (c Call) MarshalText() ([]byte, error) {
	if !validID(c.Saga) || !validName(c.Step) {
		return nil, fmt.Errorf("saga: Call of %.80q/%.80q: want the names of a saga and a step", c.Saga, c.Step)
	}
	return fmt.Appendf(nil, "%s/%s %s %d %d", c.Saga, c.Step, c.verb(), c.Attempt, c.Epoch), nil
}

func (c Call) verb() string {
	if c.Undo {
		return "undo"
	}
	return "do"
}

// UnmarshalText reads what MarshalText wrote.
func (c *Call) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), " ")
	if len(parts) != 4 {
		return badCall(text)
	}
	slash := strings.LastIndexByte(parts[0], '/') // a saga's id may hold some, a step's name none
	if slash < 0 || !validID(parts[0][:slash]) || !validName(parts[0][slash+1:]) || parts[1] != "do" && parts[1] != "undo" {
		return badCall(text)
	}
	attempt, err := strconv.ParseUint(parts[2], 10, 31)
	if err != nil {
		return badCall(text)
	}
	epoch, err := strconv.ParseUint(parts[3], 10, 64)
	if err != nil {
		return badCall(text)
	}
	*c = Call{Saga: parts[0][:slash], Step: parts[0][slash+1:], Undo: parts[1] == "undo", Attempt: int(attempt), Epoch: epoch}
	return nil
}

func badCall(text []byte) error {
	return fmt.Errorf(`saga: Call is %.80q: want "saga/step do attempt epoch", or undo`, text)
}

// CallFrom returns the call that ctx belongs to, the zero Call outside a step.
func CallFrom(ctx context.Context) Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	if c == nil {
		return Call{}
	}
	return *c
}

type callKey struct{}

// isDone: ctx is that of an Undo whose step is known to be done.
func isDone(ctx context.Context) bool {
	done, _ := ctx.Value(doneKey{}).(bool)
	return done
}

type doneKey struct{}

// Refuse marks err as a refusal: no attempt under this key had or will have an
// effect. The step is not retried and not undone, and the saga compensates. A nil
// err is a refusal without a reason.
func Refuse(err error) error { return &refusal{err} }

type refusal struct{ err error }

func (r *refusal) Error() string {
	if r.err == nil {
		return "refused"
	}
	return r.err.Error()
}
func (r *refusal) Unwrap() error { return r.err }

// Retryable reports false, so that a retry around the call ends too.
func (r *refusal) Retryable() bool { return false }

// Await parks the step, durably and at no cost, until a signal of this name comes
// or d has passed; d of zero or less means no time-out. The call then runs again,
// and [CallFrom] says what ended the wait:
//
//	call := saga.CallFrom(ctx)
//	if call.Signal == "" && !call.TimedOut {
//		return saga.Await("approved", 24*time.Hour)
//	}
//
// A signal that came earlier ends the wait at once.
func Await(signal string, d time.Duration) error {
	if !validName(signal) {
		return &misnamed{signal}
	}
	return await(signal, d)
}

func await(signal string, d time.Duration) error {
	return &parking{signal: signal, wait: max(d, 0), always: d <= 0}
}

// Sleep parks the step for d; the call then runs again with TimedOut.
func Sleep(d time.Duration) error { return &parking{wait: max(d, 0)} }

// misnamed: no signal can have this name, so the wait would never end.
type misnamed struct{ name string }

func (m *misnamed) Error() string {
	return fmt.Sprintf("saga: Await: signal name is %.80q: want 1 to 64 letters, digits, '.', '_', '-'", m.name)
}
func (m *misnamed) Retryable() bool { return false }

type parking struct {
	signal string
	wait   time.Duration
	always bool
}

func (p *parking) Error() string {
	if p.signal == "" {
		return fmt.Sprintf("saga: sleep %v", p.wait)
	}
	return fmt.Sprintf("saga: await %s", p.signal)
}

// Retryable reports false: it is no failure.
func (p *parking) Retryable() bool { return false }
