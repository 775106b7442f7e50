package breaker

import (
	"context"
	"slices"
	"time"
)

// Chain returns a gate that asks the given ones in order, outermost first, and
// admits what all of them admit. If one refuses, the permits taken are
// canceled, last first, and its refusal is returned as it is. The time limit
// of a call is the shortest of theirs.
//
// An admitted call costs one allocation, and a second one with more than four
// gates; a chain of one gate is that gate. Without gates it admits everything.
// Chain panics on a nil gate.
func Chain(gates ...Gate) Gate {
	if slices.Contains(gates, nil) {
		panic("breaker: Chain of a nil Gate")
	}
	if len(gates) == 1 {
		return gates[0]
	}
	return &chain{gates: slices.Clone(gates)}
}

// chain is immutable; each admitted call carries its own links.
type chain struct{ gates []Gate }

// Allow implements [Gate].
func (c *chain) Allow(ctx context.Context) (Permit, error) {
	if ctx.Err() != nil {
		return Permit{}, context.Cause(ctx)
	}
	if len(c.gates) == 0 {
		return Permit{}, nil
	}
	// The outermost gate goes first, so that its refusals do not allocate.
	first, err := c.gates[0].Allow(ctx)
	if err != nil {
		return Permit{}, err
	}
	l := &links{n: len(c.gates)}
	if l.n > len(l.few) {
		l.more = make([]Permit, l.n-len(l.few))
	}
	l.at(0).move(&first)
	if err := l.takeRest(ctx, c.gates); err != nil {
		return Permit{}, err
	}
	l.permit = origin{Issuer: l, Timeout: l.timeout()}
	return Permit{from: &l.permit, ctx: ctx}, nil
}

// Idle reports whether all gates are; one that cannot say is not.
func (c *chain) Idle() bool {
	return !slices.ContainsFunc(c.gates, func(g Gate) bool { return !idle(g) })
}

// idle reports whether g says that it is idle.
func idle(g any) bool {
	i, ok := g.(interface{ Idle() bool })
	return ok && i.Idle()
}

// links are the permits of one admitted call, and the issuer of the permit
// that stands for them.
type links struct {
	permit origin
	n      int
	few    [4]Permit
	more   []Permit // beyond few
}

func (l *links) at(i int) *Permit {
	if i < len(l.few) {
		return &l.few[i]
	}
	return &l.more[i-len(l.few)]
}

// takeRest asks all gates but the first. Whatever way one of them does not
// admit the call, by an error or a panic, the permits taken are given back.
func (l *links) takeRest(ctx context.Context, gates []Gate) error {
	complete := false
	defer func() {
		if !complete {
			l.Cancel(0)
		}
	}()
	for i, g := range gates[1:] {
		p, err := g.Allow(ctx)
		if err != nil {
			return err
		}
		l.at(i + 1).move(&p)
	}
	complete = true
	return nil
}

// timeout returns the shortest time limit, 0 if there is none.
func (l *links) timeout() (shortest time.Duration) {
	for i := range l.n {
		if d := l.at(i).Timeout(); d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	return shortest
}

// Settle implements [Issuer].
func (l *links) Settle(_ int64, o Outcome, err error) {
	l.each(l.n-1, func(p *Permit) { p.settle(o, err) })
}

// Cancel implements [Issuer].
func (l *links) Cancel(int64) { l.each(l.n-1, (*Permit).Cancel) }

// each calls f with the permits from number i down to the first, also if one
// of the calls panics: the callback of one gate must not cost the place in
// another.
func (l *links) each(i int, f func(*Permit)) {
	if i >= 0 {
		defer l.each(i-1, f)
		f(l.at(i))
	}
}

// move takes over the permit q, which is empty from then on.
func (p *Permit) move(q *Permit) {
	p.from, p.ctx, p.token = q.from, q.ctx, q.token
	q.from = nil
}
