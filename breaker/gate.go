package breaker

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// Gate admits or refuses one call. Implementations are safe for concurrent
// use.
//
// A refusal is a [*RejectedError]. If ctx has ended, Allow returns
// context.Cause(ctx) and spends nothing: no probe, no place, no token. Allow
// waits only where its type says so, and never past ctx.
//
// Two more methods are optional: RetryAfter() time.Duration answers
// [RejectedError.RetryAfter], and Idle() bool lets a [Group] forget the gate.
type Gate interface {
	Allow(ctx context.Context) (Permit, error)
}

// Permit is one admitted call, to be given back by Done or Cancel. The first
// of them counts and later ones do nothing, so "defer p.Cancel()" is a safe
// net under a later Done. A Permit is for one goroutine at a time and must not
// be copied, which go vet tells. The zero Permit does nothing.
type Permit struct {
	// Four words, which is what the compiler takes apart into registers. Of a
	// larger struct it makes a copy in memory right after it was written, for
	// which the processor waits 8 ns: as long as a free gate takes in all.
	_     noCopy
	from  *origin // nil once the permit is given back
	ctx   context.Context
	token int64
}

// NewPermit returns a permit that i issues; it is for authors of gates. ctx is
// the one that was given to Allow, token means something to i alone. It does
// not allocate if i is a pointer: see [Issuer].
func NewPermit(ctx context.Context, i Issuer, token int64) Permit {
	from, ok := i.(*origin) // a gate of this module
	if !ok {
		from = originOf(i)
	}
	return Permit{from: from, ctx: ctx, token: token}
}

// Issuer is the side of a gate that takes permits back. A Permit calls one of
// its methods, once.
//
// Make it a pointer that lives as long as the gate. Permits of such an issuer
// cost nothing but a look at the latest few; a new one costs an allocation.
type Issuer interface {
	// Settle says how the call ended. o is the outcome by the rules of
	// [Config.Classify] before Classify has its say; err is nil on success.
	Settle(token int64, o Outcome, err error)
	// Cancel says that the call did not run.
	Cancel(token int64)
}

// Done says that the call is over. A nil error is a success; how others are
// judged stands at [Config.Classify].
func (p *Permit) Done(err error) { p.settle(judge(p.ctx, err), err) }

// Cancel says that the call did not run, which leaves everything as if the
// gate had not been asked.
func (p *Permit) Cancel() {
	if from := p.from; from != nil {
		p.from = nil
		from.Issuer.Cancel(p.token)
	}
}

// Timeout returns the time limit of the call, [Config.Timeout], or 0 if there
// is none or the permit was given back. [Do] and [Run] apply it; a caller of
// Allow does so himself.
func (p *Permit) Timeout() time.Duration {
	if p.from == nil {
		return 0
	}
	return p.from.Timeout
}

// settle gives the permit back with an outcome that is known already. The
// issuer goes first: whatever it panics with, it is asked once.
func (p *Permit) settle(o Outcome, err error) {
	if from := p.from; from != nil {
		p.from = nil
		from.Issuer.Settle(p.token, o, err)
	}
}

// Outcome is what one call says about the health of what it called.
type Outcome uint8

// The outcomes of a call. The zero Outcome is invalid.
const (
	Success Outcome = iota + 1 // it went well
	Failure                    // it did not
	Ignored                    // it ran, but says nothing about health
)

// String returns "success", "failure" or "ignored".
func (o Outcome) String() string {
	switch o {
	case Success:
		return "success"
	case Failure:
		return "failure"
	case Ignored:
		return "ignored"
	default:
		return "Outcome(" + strconv.Itoa(int(o)) + ")"
	}
}

// judge returns the outcome that err stands for by default. The caller's
// deadline is a failure and only his cancellation is not: a dependency that
// hangs is usually seen through the deadlines of its callers alone. That is so
// too where the deadline reaches us as the cause of a cancellation, as that of
// one try does by package retryhttp, which keeps the context for the body.
func judge(ctx context.Context, err error) Outcome {
	switch {
	case err == nil:
		return Success
	case errors.Is(err, ErrRejected):
		return Ignored
	case ctx != nil && errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return Ignored
	default:
		return Failure
	}
}

// noCopy makes go vet report copies of the struct that holds it.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}
