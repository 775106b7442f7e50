package eventsql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// group collects appends: what has queued up while a transaction was committed
// shares the next one, and so its fsync. There is no artificial delay. Its
// goroutine runs while something is queued.
type group struct {
	s *Store

	mu      sync.Mutex
	queue   []*job
	running bool
	closed  bool
}

// job is a queued append.
type job struct {
	r      *request
	done   chan struct{}
	result eventsource.Result
	err    error

	taken bool // handed over to a transaction; guarded by the group's mu
}

func (j *job) finish(result eventsource.Result, err error) {
	j.result, j.err = result, err
	close(j.done)
}

func errClosed() error {
	return fmt.Errorf("%w: eventsql: the Store was closed", eventsource.ErrClosed)
}

// append waits for its turn and the commit.
func (g *group) append(ctx context.Context, r *request) (eventsource.Result, error) {
	r.own()
	j := &job{r: r, done: make(chan struct{})}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return eventsource.Result{}, errClosed()
	}
	g.queue = append(g.queue, j)
	if !g.running {
		g.running = true
		g.s.work.Go(g.run)
	}
	g.mu.Unlock()
	select {
	case <-j.done:
		return j.result, j.err
	case <-ctx.Done():
		return g.leave(ctx, j)
	}
}

// leave takes a job out of the queue. One that is handed over cannot be
// recalled, nor need the others in its transaction suffer.
func (g *group) leave(ctx context.Context, j *job) (eventsource.Result, error) {
	g.mu.Lock()
	taken := j.taken
	if !taken {
		g.queue = slices.DeleteFunc(g.queue, func(other *job) bool { return other == j })
	}
	g.mu.Unlock()
	if !taken {
		return eventsource.Result{}, context.Cause(ctx)
	}
	select {
	case <-j.done: // both were ready
		return j.result, j.err
	default:
		return eventsource.Result{}, fmt.Errorf("%w: %w", eventsource.ErrUncertain, context.Cause(ctx))
	}
}

func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	queue := g.queue
	g.queue = nil
	g.mu.Unlock()
	for _, j := range queue {
		j.finish(eventsource.Result{}, errClosed())
	}
}

// run commits groups until the queue is empty. A panic of a driver is no
// caller's; it takes the program down, as on a caller's goroutine.
func (g *group) run() {
	for g.more() {
		if g.s.dialect == sqldb.SQLite {
			g.onSQLite()
		} else {
			g.onPostgres()
		}
	}
}

func (g *group) more() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = len(g.queue) > 0
	return g.running
}

// take hands over the jobs of the next transaction: it is called when that
// transaction has begun, so that who gives up before has not written anything.
// fits decides about each; those that do not stay in line.
func (g *group) take(fits func(j *job, taken []*job) bool) (jobs []*job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	size, rows := 0, 0
	left := g.queue[:0:0]
	for i, j := range g.queue {
		size, rows = size+j.r.size, rows+len(j.r.rows)
		if len(jobs) == g.s.cfg.GroupCommit || len(jobs) > 0 && (size > maxGroupBytes || rows > maxGroupRows) {
			left = append(left, g.queue[i:]...)
			break
		}
		if !fits(j, jobs) {
			left = append(left, j)
			continue
		}
		j.taken = true
		jobs = append(jobs, j)
	}
	g.queue = left
	return jobs
}

const (
	maxGroupRows  = 10_000
	maxGroupBytes = 16 << 20
)

// fail answers everything that is queued with an error from before a
// transaction had begun.
func (g *group) fail(err error) {
	for _, j := range g.take(func(*job, []*job) bool { return true }) {
		j.finish(eventsource.Result{}, fmt.Errorf("eventsql: append: %w", err))
	}
}

// onSQLite runs the jobs one after another in a transaction. The answers are
// given after COMMIT: a conflict or a Duplicate may rest on an event of the
// same transaction, which is not durable before.
func (g *group) onSQLite() {
	ctx, s := g.s.ctx, g.s
	var jobs []*job
	var verdicts []verdict
	committing, err := s.immediate(ctx, func(conn *sql.Conn) (err error) {
		jobs = g.take(func(*job, []*job) bool { return true })
		verdicts, err = s.appendAll(ctx, conn, jobs)
		return err
	})
	if err != nil && committing {
		jobs = g.lost(jobs, err)
	}
	switch {
	case err == nil:
		if len(jobs) > 0 {
			s.stats.commits.Add(1)
		}
		for i, j := range jobs {
			j.finish(s.conclude(ctx, s.db, j.r, verdicts[i]))
		}
	case jobs == nil:
		g.fail(err)
	default:
		g.oneByOne(jobs, s.onSQLite)
	}
}

func (s *Store) appendAll(ctx context.Context, conn *sql.Conn, jobs []*job) ([]verdict, error) {
	t := s.newSQLiteTx(conn)
	t.verb = "INSERT OR FAIL"
	t.prepare, t.prepared = conn.PrepareContext, make(map[string]*sql.Stmt)
	defer func() {
		for _, stmt := range t.prepared {
			stmt.Close()
		}
	}()
	if err := t.learn(ctx, streamsOf(jobs)); err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(jobs))
	for i, j := range jobs {
		v, err := t.append(ctx, j.r)
		if err != nil {
			return nil, err
		}
		verdicts[i] = v
	}
	return verdicts, t.flush(ctx)
}

// streamsOf are the distinct streams that jobs write.
func streamsOf(jobs []*job) (streams []string) {
	for _, j := range jobs {
		streams = append(streams, j.r.streams...)
	}
	slices.Sort(streams)
	return slices.Compact(streams)
}

// onSQLite is the attempt on SQLite.
func (s *Store) onSQLite(ctx context.Context, r *request) (v verdict, sent bool, err error) {
	sent, err = s.immediate(ctx, func(conn *sql.Conn) (err error) {
		v, err = s.appendSQLite(ctx, conn, r)
		return err
	})
	return v, sent, err
}

// appendSQLite appends one request and sends it.
func (s *Store) appendSQLite(ctx context.Context, q querier, r *request) (v verdict, err error) {
	t := s.newSQLiteTx(q)
	if v, err = t.append(ctx, r); err == nil {
		err = t.flush(ctx)
	}
	return v, err
}

// lost notes that nobody knows what became of jobs, and returns those that are sent
// again: whose ids tell, or that write nothing.
func (g *group) lost(jobs []*job, err error) (again []*job) {
	again = []*job{} // not nil: they have been taken
	for _, j := range jobs {
		j.r.lost, j.r.check = true, true
		if j.r.harmless() {
			g.s.stats.resent.Add(1)
			again = append(again, j)
		} else {
			j.finish(eventsource.Result{}, g.s.failed(g.s.ctx, j.r, err))
		}
	}
	return again
}

// oneByOne gives each job its own transaction, after the one that they shared
// has failed: perhaps one of them was the reason.
func (g *group) oneByOne(jobs []*job, try attempt) {
	for _, j := range jobs {
		j.finish(g.s.send(g.s.ctx, j.r, try))
	}
}
