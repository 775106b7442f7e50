package eventsource

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Projection turns a store's history into something else, a read model or
// messages, and goes on with what comes. Its place in the history is kept in
// [Checkpoints]; any number of processes may [Projection.Run] the same one and
// share its partitions. The zero value of each field but Name, Query and Apply
// is good.
type Projection struct {
	// Name and Version name the checkpoints, "projection/<Name>@<Version>". A new
	// Version starts over beside the old one (blue/green): run both, and switch
	// readers once WaitFor of the new one returns. Version zero means 1.
	Name    string
	Version int
	// Query selects the events.
	Query Query
	// From is the position after which a new Version starts. Zero means the
	// beginning.
	From Position
	// Partitions is how many batches may run at once, over all processes. It is
	// fixed per Version. Zero means 1.
	Partitions int
	// BatchSize is the most events of a batch. Zero means 512.
	BatchSize int
	// MaxAttempts is how often Apply may fail on an event before Park gets it.
	// Zero means that it is retried for ever.
	MaxAttempts int
	// Lease is how long a process may be silent before others take its
	// partitions. Zero means 10 s.
	Lease time.Duration
	// Apply takes a batch, which has at least one event: at least once, in order
	// per partition, from one goroutine per partition. It runs inside
	// [Checkpoints].SaveCheckpoint, so within eventsql.InTx its writes and the
	// checkpoint commit together and each event counts exactly once.
	//
	// ctx ends when that of Run does, and with the cause [ErrFenced] when the
	// partition was lost to another process. An error repeats the batch after
	// Backoff, while other partitions go on; one that matches [ErrInvalid] ends
	// Run if there is no Park, since a repeat cannot help. Required.
	Apply func(ctx context.Context, b Batch) error
	// Key puts an event into a partition: those of one key are applied in order.
	// Nil means Stream.
	Key func(Recorded) string
	// Backoff is the wait after failure 1, 2, 3 ... Nil means 10 ms doubling to
	// 5 s, half of it random.
	Backoff func(attempt int) time.Duration
	// Park takes an event away, into a dead letter table or a log, that failed
	// MaxAttempts times alone; after nil the projection goes on without it. Its
	// error counts as one more failure. Nil means that Run returns the event's
	// error and position.
	Park func(context.Context, Recorded, error) error
	// OnEvent is told after each step, on the partition's goroutine and with no
	// lock held. Nil means that nobody is.
	OnEvent func(Progress)
}

// Progress is one step of a partition.
type Progress struct {
	Projection string // its Name
	Partition  int    // -1: no partition, the group of processes
	Events     int    // that were applied
	Parked     int    // that Park took
	Attempt    int    // that failed, from 1; 0 if nothing did
	// Through is how far the partition has come, Head how far it could.
	Through, Head Position
	// Err is nil after progress, ErrFenced when the partition was lost, else why
	// the step is repeated.
	Err error
}

const (
	defaultLease = 10 * time.Second
	// saveEmpty is the least time between two saves of an advance without events.
	saveEmpty = 100 * time.Millisecond
)

// complete returns p with its defaults, or what is wrong with it.
func (p Projection) complete() (Projection, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Version", int64(p.Version)},
		{"Partitions", int64(p.Partitions)},
		{"BatchSize", int64(p.BatchSize)},
		{"MaxAttempts", int64(p.MaxAttempts)},
		{"Lease", int64(p.Lease)},
	} {
		if f.value < 0 {
			return p, invalid("Projection."+f.name, f.value, "zero or more")
		}
	}
	if err := badText("Projection.Name", p.Name); err != nil || p.Name == "" {
		return p, firstOf(err, invalid("Projection.Name", `""`, "required"))
	}
	p.Version, p.Partitions = orDefault(p.Version, 1), orDefault(p.Partitions, 1)
	p.BatchSize, p.Lease = orDefault(p.BatchSize, defaultBatch), orDefault(p.Lease, defaultLease)
	if p.Key == nil {
		p.Key = func(r Recorded) string { return r.Stream }
	}
	if p.Backoff == nil {
		p.Backoff = backoff
	}
	return p, nil
}

func orDefault[N int | time.Duration](n, zero N) N {
	if n == 0 {
		return zero
	}
	return n
}

// backoff is 10 ms doubling to 5 s, half of it random.
func backoff(attempt int) time.Duration {
	d := min(10*time.Millisecond<<min(attempt-1, 16), 5*time.Second)
	return d/2 + rand.N(d/2+1)
}

func (p *Projection) groupName() string { return fmt.Sprintf("projection/%s@%d", p.Name, p.Version) }

func (p *Projection) partitionName(i int) string { return fmt.Sprintf("%s/%d", p.groupName(), i) }

func (p *Projection) report(e Progress) {
	if p.OnEvent != nil {
		e.Projection = p.Name
		p.OnEvent(e)
	}
}

// partition is where events of a key belong: fmix64(FNV-1a-64(key)) mod n. It
// never changes, since checkpoints rest on it. The last bits of FNV are weak,
// hence the finalizer of MurmurHash3 after it.
func partition(key string, n int) int {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return int((h ^ h>>33) % uint64(n))
}

// WaitFor returns once all partitions have reached pos, so that a reader sees
// what was appended up to there (read-your-writes): WaitFor(ctx, cps,
// outcome.Last). It may be called in another process than Run. A checkpoint
// that does not exist is not there yet; bound the wait with ctx.
//
// It looks after 1 ms, 2 ms, 4 ms ... 50 ms; a [Memory] tells it when to.
func (p Projection) WaitFor(ctx context.Context, cps Checkpoints, pos Position) error {
	p, err := p.complete()
	if err != nil {
		return err
	}
	var saved <-chan struct{} // nil, and so never ready, for a store that cannot tell
	teller, tells := cps.(interface{ savedNext() <-chan struct{} })
	wait := time.Millisecond
	for i := -1; i < p.Partitions; {
		if tells {
			saved = teller.savedNext() // before the look, so that no change is missed
		}
		if there, err := p.reached(ctx, cps, i, pos); err != nil {
			return err
		} else if there {
			i++
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("eventsource: projection %s has not reached position %d: %w", p.Name, pos, context.Cause(ctx))
		case <-saved:
		case <-time.After(wait):
			wait = min(2*wait, 50*time.Millisecond)
		}
	}
	return nil
}

// reached looks at partition i, or with -1 at the group, which must have as many.
func (p *Projection) reached(ctx context.Context, cps Checkpoints, i int, pos Position) (bool, error) {
	if i >= 0 {
		cp, err := cps.LoadCheckpoint(ctx, p.partitionName(i))
		return cp.Epoch > 0 && cp.Position >= pos, err
	}
	cp, err := cps.LoadCheckpoint(ctx, p.groupName())
	if err != nil || cp.Epoch == 0 {
		return false, err
	}
	_, err = decodeGroup(cp, p.Partitions)
	return err == nil, err
}

// sleep returns the cause if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
