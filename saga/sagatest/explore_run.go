package sagatest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/saga"
)

const (
	exploredID    = "explored"
	exploredLease = 30 * time.Second
	exploredMost  = 60 * 24 * time.Hour // no schedule takes longer
)

// explorer runs one schedule.
type explorer[S any] struct {
	subject Subject[S]
	plan    schedule
	store   *saga.Memory
	over    chan struct{} // closed when the schedule has ended
	steps   []saga.Step[S]

	mu     sync.Mutex
	points []point
	seen   map[string]int
	events []event
	calls  []saga.Call
	stored uint64 // Seq of the last record
}

// event is something that happened, in order.
type event struct {
	what  string // begin, effect, end, or the kind of a record that was stored
	step  string
	undo  bool
	no    bool // end: refused
	epoch uint64
}

func newExplorer[S any](s Subject[S], plan schedule) *explorer[S] {
	return &explorer[S]{subject: s, plan: plan, store: saga.NewMemory(), over: make(chan struct{}), seen: map[string]int{}}
}

// process is one coordinator and its way to the store.
type process[S any] struct {
	*explorer[S]
	c    *saga.Coordinator
	saga *saga.Saga[S]
	end  context.CancelFunc
	done chan error

	state sync.Mutex
	dead  bool
	cut   bool // from the store
}

// arrive notes a point and returns the fault that the plan has for it.
func (x *explorer[S]) arrive(name string, faults []string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen[name]++
	name = fmt.Sprintf("%s:%d", name, x.seen[name])
	x.points = append(x.points, point{name, faults})
	for _, f := range x.plan {
		if f.point == name {
			return f.what
		}
	}
	return ""
}

func (x *explorer[S]) note(e event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, e)
}

// spawn starts a process.
func (x *explorer[S]) spawn(t *testing.T) (*process[S], error) {
	ctx, end := context.WithCancel(t.Context())
	p := &process[S]{explorer: x, end: end, done: make(chan error, 1)}
	var err error
	if p.c, err = saga.New(p, saga.Config{Name: "explored", Lease: exploredLease, Poll: exploredLease / 3}); err == nil {
		p.saga, err = p.define()
	}
	if err != nil {
		end()
		return nil, err
	}
	go func() { p.done <- p.c.Serve(ctx) }()
	return p, nil
}

func (p *process[S]) define() (*saga.Saga[S], error) {
	d, err := p.subject.Define(p.c)
	if err != nil {
		return nil, err
	}
	d.Steps = slices.Clone(d.Steps)
	p.steps = slices.Clone(d.Steps)
	for i := range d.Steps {
		s := &d.Steps[i]
		s.Do = p.wrap(s.Do, s.Name, atDo, s.Timeout)
		if s.Undo != nil {
			s.Undo = p.wrap(s.Undo, s.Name+"#undo", atUndo, s.Timeout)
		}
	}
	return saga.Register(p.c, d)
}

func (p *process[S]) is() (dead, cut bool) {
	p.state.Lock()
	defer p.state.Unlock()
	return p.dead, p.cut
}

func (p *process[S]) crash() {
	p.state.Lock()
	p.dead = true
	p.state.Unlock()
	p.end()
}

func (p *process[S]) sever(cut bool) {
	p.state.Lock()
	p.cut = cut
	p.state.Unlock()
}

type call[S any] = func(ctx context.Context, s *S) error

// wrap makes a call a point.
func (p *process[S]) wrap(fn call[S], name string, faults []string, timeout time.Duration) call[S] {
	if timeout < 0 { // nothing would end it
		faults = slices.DeleteFunc(slices.Clone(faults), func(f string) bool { return f == hang || f == deaf })
	}
	return func(ctx context.Context, s *S) (err error) {
		c := saga.CallFrom(ctx)
		what := p.arrive(name, faults)
		if dead, _ := p.is(); dead {
			return deadError{}
		}
		e := event{what: "begin", step: c.Step, undo: c.Undo, epoch: c.Epoch}
		p.note(e)
		p.mu.Lock()
		p.calls = append(p.calls, c)
		p.mu.Unlock()
		e.what = "end"
		defer func() { p.note(e) }()
		effect := func() error {
			err := fn(ctx, s)
			if e.no = isRefusal(err); err == nil {
				p.note(event{what: "effect", step: c.Step, undo: c.Undo, epoch: c.Epoch})
			}
			return err
		}
		switch what {
		case crashBefore:
			p.crash()
			return deadError{}
		case failBefore:
			return errInjected
		case refuse:
			e.no = true
			return saga.Refuse(errInjected)
		case panics:
			panic("sagatest: injected")
		case hang:
			select {
			case <-ctx.Done():
			case <-p.over:
			}
			return context.Cause(ctx)
		case deaf:
			<-p.over
			return errInjected
		}
		err = effect()
		switch what {
		case crashAfter:
			p.crash()
			return deadError{}
		case failAfter:
			return errInjected
		case stale: // others take over meanwhile
			p.sever(true)
			time.Sleep(4 * exploredLease)
			p.sever(false)
		}
		return err
	}
}

// isRefusal: an error of saga.Refuse says of itself that no retry helps, and
// nothing else here does that is no *saga.Error.
func isRefusal(err error) bool {
	var says interface{ Retryable() bool }
	return err != nil && errors.As(err, &says) && !says.Retryable() && !strings.HasPrefix(err.Error(), "saga: await") && !strings.HasPrefix(err.Error(), "saga: sleep")
}

// run plays the schedule and returns what is wrong with it.
func (x *explorer[S]) run(t *testing.T) (err error) {
	var all []*process[S]
	p, err := x.spawn(t)
	if err != nil {
		return err
	}
	all = append(all, p)
	defer func() {
		close(x.over)
		for _, p := range all {
			p.end()
			<-p.done // its error is that it crashed
		}
	}()
	ctx := t.Context()
	started, waited := false, uint64(0)
	var s saga.Summary
	for begun, pause := time.Now(), time.Millisecond; !over(s.State); pause = min(2*pause, exploredLease/3) {
		if p, err = x.living(t, p, &all); err != nil {
			return err
		}
		if !started {
			started = p.saga.Start(ctx, exploredID, x.subject.Input) == nil
			continue
		}
		time.Sleep(pause)
		if s, err = x.summary(ctx); err != nil {
			return err
		}
		if s.State == saga.Waiting && s.Seq != waited && x.subject.OnWait != nil {
			if p, err = x.living(t, p, &all); err != nil {
				return err
			}
			waited, pause = s.Seq, time.Millisecond
			x.subject.OnWait(ctx, p.c, s)
		}
		if time.Since(begun) > exploredMost {
			return fmt.Errorf("after %v it is %v at %s", exploredMost, s.State, s.Step)
		}
	}
	if p, err = x.living(t, p, &all); err != nil {
		return err
	}
	return x.judge(ctx, p, s)
}

// living is p, or a new process if p is dead or taken for it.
func (x *explorer[S]) living(t *testing.T, p *process[S], all *[]*process[S]) (*process[S], error) {
	if dead, cut := p.is(); !dead && !cut {
		return p, nil
	}
	p, err := x.spawn(t)
	if err == nil {
		*all = append(*all, p)
	}
	return p, err
}

func over(s saga.State) bool { return s.Ended() || s == saga.Stuck }

func (x *explorer[S]) summary(ctx context.Context) (saga.Summary, error) {
	for s, err := range x.store.List(ctx, saga.Filter{IDs: []string{exploredID}}) {
		return s, err
	}
	return saga.Summary{}, errors.New("the saga is gone")
}

// The process's way to the store.

func (p *process[S]) reach() error {
	switch dead, cut := p.is(); {
	case dead:
		return deadError{}
	case cut:
		return errCut
	}
	return nil
}

// Commit implements [saga.Store].
func (p *process[S]) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if err := p.reach(); err != nil {
		return nil, err
	}
	what := p.arrive("commit "+nameOf(writes), atCommit)
	switch what {
	case crashBefore:
		p.crash()
		return nil, deadError{}
	case failBefore:
		return nil, errLost
	}
	v, err := p.store.Commit(ctx, writes)
	for i, w := range writes {
		if err == nil && v[i].Err == nil && w.Summary.ID == exploredID {
			p.noteRecords(w.Records)
		}
	}
	switch what {
	case crashAfter:
		p.crash()
		return nil, deadError{}
	case lostReply:
		return nil, errLost
	}
	return v, err
}

// noteRecords notes what is new: a commit whose reply was lost is repeated.
func (x *explorer[S]) noteRecords(all []saga.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range all {
		if r.Seq > x.stored {
			x.stored = r.Seq
			x.events = append(x.events, event{what: r.Kind, step: r.Step, epoch: r.Epoch})
		}
	}
}

func nameOf(writes []saga.Write) string {
	var words []string
	for _, w := range writes {
		word := []string{strings.TrimPrefix(w.Summary.ID, exploredID)}
		for _, r := range w.Records {
			kind := r.Kind
			if r.Step != "" {
				kind += "." + r.Step
			}
			word = append(word, kind)
		}
		words = append(words, strings.TrimSpace(strings.Join(word, " ")))
	}
	slices.Sort(words)
	return strings.Join(words, "+")
}

// Poll implements [saga.Store].
func (p *process[S]) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	if err := p.reach(); err != nil {
		return saga.Work{}, err
	}
	return p.store.Poll(ctx, l)
}

// Post implements [saga.Store].
func (p *process[S]) Post(ctx context.Context, id string, r saga.Record) error {
	if err := p.reach(); err != nil {
		return err
	}
	return p.store.Post(ctx, id, r)
}

// Load implements [saga.Store].
func (p *process[S]) Load(ctx context.Context, id string) (s saga.Summary, log, mail []saga.Record, err error) {
	if err := p.reach(); err != nil {
		return s, nil, nil, err
	}
	return p.store.Load(ctx, id)
}

// List implements [saga.Store].
func (p *process[S]) List(ctx context.Context, f saga.Filter) iter.Seq2[saga.Summary, error] {
	if err := p.reach(); err != nil {
		return func(yield func(saga.Summary, error) bool) { yield(saga.Summary{}, err) }
	}
	return p.store.List(ctx, f)
}
