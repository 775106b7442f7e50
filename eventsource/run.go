package eventsource

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Run shares the projection's partitions with every other Run of it, applies
// what they hold and goes on with what comes, until ctx ends. It waits for its
// workers, gives its partitions back, and returns an error that matches the
// cause. Call it once per process; s and cps are often the same store.
//
// An error of the store or of Apply does not end it: the step is repeated after
// Backoff. These do: [ErrInvalid], such as other Partitions than this Version
// began with; [ErrCorrupt], such as a checkpoint beyond Head after a restored
// backup; [ErrClosed]; and, without Park, an event that failed MaxAttempts
// times. A panic in one of the functions goes on here, and a runtime.Goexit in
// one is an error; nothing of that batch is saved.
//
// Every Run has a random id and raises its beat in the group's record each
// Lease/3; the others measure its silence on their own clocks. Members that cps
// knows to be dead, see [Checkpoints], are not waited for. Partitions are
// spread as evenly as can be; one that moves is handed over between batches,
// and taken with a new epoch, so that the former owner's save fails.
func (p Projection) Run(ctx context.Context, s Store, cps Checkpoints) error {
	p, err := p.complete()
	if err == nil && p.Apply == nil {
		err = invalid("Projection.Apply", "nil", "required")
	}
	if err != nil {
		return err
	}
	era := eraOf(cps)
	r := &run{
		p: &p, store: s, cps: cps,
		seat: seat{
			p: &p, store: s, cps: cps, era: era,
			id: fmt.Sprintf("%s%016x", era, rand.Uint64()), heard: map[string]heard{},
		},
		feed:    &feed{store: s, query: p.Query, parts: p.Partitions, key: p.Key},
		workers: map[int]*worker{},
		exits:   make(chan exit, p.Partitions),
	}
	return r.run(ctx)
}

// A run is one call of Run: it keeps the seat and the workers in step.
type run struct {
	p     *Projection
	store Store
	cps   Checkpoints
	seat  seat
	feed  *feed

	workers  map[int]*worker // by partition
	exits    chan exit
	failures int // of the seat, in a row
}

// An exit is how a worker ended.
type exit struct {
	part  int
	err   error // ends Run
	crash *crash
}

var errGoexit = errors.New("eventsource: a function of the projection has called runtime.Goexit")

func (r *run) run(ctx context.Context) error {
	workers, end := context.WithCancelCause(ctx)
	defer end(nil)
	// The group is heard of until the last worker is done, and told goodbye.
	lasting := context.WithoutCancel(ctx)
	last := r.untilEnd(ctx, workers)
	end(last.err)
	r.untilIdle(lasting)
	r.leave(lasting)
	if last.crash != nil {
		last.crash.resume()
	}
	return last.err
}

// untilEnd keeps going until ctx ends or something ends Run.
func (r *run) untilEnd(ctx, workers context.Context) (last exit) {
	defer func() { // OnEvent and Backoff are called here too
		if c := crashed(recover()); c != nil {
			last.crash, last.err = c, c
		}
	}()
	for {
		wait, err := r.tick(ctx, workers)
		if err != nil {
			return exit{err: err}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return exit{err: fmt.Errorf("eventsource: projection %s ended: %w", r.p.Name, context.Cause(ctx))}
		case e := <-r.exits:
			timer.Stop()
			delete(r.workers, e.part)
			if e.err != nil || e.crash != nil {
				return e
			}
		case <-timer.C:
		}
	}
}

// tick makes a move in the group and brings the workers in line with it. It
// returns how long to wait for the next.
func (r *run) tick(ctx, workers context.Context) (time.Duration, error) {
	state, aim, err := r.sit(ctx, false)
	switch {
	case err == nil:
		r.failures = 0
		r.align(workers, state, aim)
		return r.pulse(), nil
	case ctx.Err() != nil:
		return 0, nil // the caller sees it
	case isFinal(err):
		return 0, err
	}
	r.failures++
	r.p.report(Progress{Partition: -1, Attempt: r.failures, Err: err})
	wait := min(r.p.Backoff(r.failures), r.pulse())
	if left := r.left(); left > 0 { // be there when it is over
		wait = min(wait, left)
	}
	return wait, nil
}

// left is how long this Run may still call its partitions its own.
func (r *run) left() time.Duration { return time.Until(r.seat.beaten.Add(r.p.Lease)) }

// pulse is the time between two looks at the group.
func (r *run) pulse() time.Duration { return max(r.p.Lease/10, time.Millisecond) }

// sit makes a move. It may take no longer than the lease lasts, after which the
// others take the partitions: so this Run's workers must have stopped by then.
func (r *run) sit(ctx context.Context, leaving bool) (groupState, []string, error) {
	patience := r.p.Lease / 3
	if len(r.workers) > 0 {
		patience = r.left()
	}
	limited, cancel := context.WithTimeout(ctx, max(patience, r.pulse()))
	defer cancel()
	state, aim, err := r.seat.sit(limited, func(i int) bool { return r.workers[i] != nil }, leaving)
	if r.left() <= 0 {
		for _, w := range r.workers {
			w.lose(ErrFenced)
		}
	}
	return state, aim, err
}

// align starts workers for what this Run owns and ends those for what it has
// lost, or should give away.
func (r *run) align(ctx context.Context, state groupState, aim []string) {
	for i, owner := range state.Owners {
		w, mine := r.workers[i], owner == r.seat.id
		switch {
		case w != nil && !mine:
			w.lose(ErrFenced)
		case w != nil && aim[i] != r.seat.id:
			w.stop()
		case w == nil && mine:
			r.start(ctx, i)
		}
	}
}

func (r *run) start(ctx context.Context, part int) {
	w := newWorker(ctx, worker{
		p: r.p, part: part, name: r.p.partitionName(part), owner: r.seat.id,
		store: r.store, cps: r.cps, feed: r.feed, replay: r.seat.replay,
	})
	r.workers[part] = w
	go func() {
		e := exit{part: part, err: errGoexit} // unless work returns
		defer func() {
			w.lose(nil)
			if e.crash = crashed(recover()); e.crash != nil {
				e.err = e.crash
			}
			r.exits <- e
		}()
		e.err = w.work()
	}()
}

// untilIdle waits for the workers, which have been told to end. An Apply may
// take its time, so the beat goes on: nobody else should begin meanwhile.
func (r *run) untilIdle(ctx context.Context) {
	for len(r.workers) > 0 {
		timer := time.NewTimer(r.pulse())
		select {
		case e := <-r.exits:
			delete(r.workers, e.part)
		case <-timer.C:
			r.sit(ctx, true) //nolint:errcheck // without an answer the others find out after Lease
		}
		timer.Stop()
	}
}

// leave gives everything back. Without it the others would wait for Lease.
func (r *run) leave(ctx context.Context) {
	if !r.seat.beaten.IsZero() {
		r.sit(ctx, true) //nolint:errcheck // see untilIdle
	}
}
