package engine

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// link is one connection through a proxy: the client's side, the target's side,
// and a pump for each direction.
type link struct {
	proxy  *Proxy
	ctx    context.Context
	cancel context.CancelFunc
	over   chan struct{} // closed when its goroutines have ended

	mu       sync.Mutex
	conns    []*net.TCPConn     // the client's, then the target's
	farewell func(*net.TCPConn) // how the link was ended; nil while it lives
}

func newLink(p *Proxy, client *net.TCPConn) *link {
	l := &link{proxy: p, over: make(chan struct{}), conns: []*net.TCPConn{client}}
	l.ctx, l.cancel = context.WithCancel(p.ctx)
	return l
}

// run serves the connection until both directions have ended.
func (l *link) run() {
	defer l.close()
	if _, ok := l.await(func(f Fault) time.Duration { return holdIf(f.Silent) }); !ok {
		return
	}
	dialled := make(chan error, 1)
	l.proxy.work.Go(func() { dialled <- l.dial() })
	select {
	case err := <-dialled:
		if err != nil {
			l.fail()
			return
		}
	case <-l.ctx.Done():
		return
	}
	client, target := l.conns[0], l.conns[1]
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(target, client, ToTarget) })
	pumps.Go(func() { l.pump(client, target, ToClient) })
	pumps.Wait()
}

// dial makes the target's side. It goes on when the link ends meanwhile, up to
// the end of the proxy: the target may have accepted already, and a dial that is
// called off would close that with FIN where a cut owes it RST.
func (l *link) dial() error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(l.proxy.ctx, "tcp", l.proxy.target)
	if err != nil {
		return err
	}
	target := conn.(*net.TCPConn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.farewell != nil {
		l.farewell(target)
		return net.ErrClosed
	}
	l.conns = append(l.conns, target)
	return nil
}

// close ends both sides as a process that exits does; what they still send is
// answered by a reset.
func (l *link) close() { l.end(func(c *net.TCPConn) { _ = c.Close() }) }

// reset ends both sides with RST: that is what closing does when the kernel may
// not linger to send the rest.
func (l *link) reset() { l.end(func(c *net.TCPConn) { _, _ = c.SetLinger(0), c.Close() }) }

// end ends both sides once, which also ends the pumps. That a side has gone
// already is why many links end, so errors say nothing.
func (l *link) end(farewell func(*net.TCPConn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.farewell != nil {
		return
	}
	l.farewell = farewell
	l.cancel()
	for _, c := range l.conns {
		farewell(c)
	}
}

// fail passes the loss of one side on to the other, when that may know.
func (l *link) fail() {
	if _, ok := l.await(func(f Fault) time.Duration { return holdIf(f.HalfOpen) }); ok {
		l.reset()
	}
}

// chunk is what one Read returned, and when. The writer computes the delay from
// that: a fault that changes changes it for bytes under way as well.
type chunk struct {
	data []byte
	at   time.Time
	luck float64 // share of the jitter that it gets
	err  error   // the end of the direction
}

// A pump's queue is the line between the ends. 64 chunks of 32 KiB let 2 MiB
// travel at a time, 20 MiB/s at a latency of 100 ms.
const (
	chunkSize  = 32 << 10
	queueDepth = 64
)

// pump passes one direction on, to its end. A reader and a writer with a queue
// between them, because a single loop that sleeps would turn latency into a
// narrow line: one chunk per delay.
func (l *link) pump(to, from *net.TCPConn, way Direction) {
	queue := make(chan chunk, queueDepth)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(queue)
		l.read(from, queue)
	})
	l.write(to, queue, way)
	reader.Wait()
}

// read reads to the end of the direction, which it queues too.
func (l *link) read(from *net.TCPConn, queue chan<- chunk) {
	for {
		buffer := make([]byte, chunkSize)
		n, err := from.Read(buffer)
		select {
		case queue <- chunk{data: buffer[:n], at: time.Now(), luck: rand.Float64(), err: err}:
		case <-l.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// write delivers each chunk as the fault in force lets it, and then the end in
// the form that it came: a half-close or a reset.
func (l *link) write(to *net.TCPConn, queue <-chan chunk, way Direction) {
	var free time.Time // when the line has room again
	for c := range queue {
		err := l.deliver(to, c, way, &free)
		switch {
		case err != nil:
			l.fail()
			return
		case errors.Is(c.err, io.EOF):
			if _, ok := l.await(func(f Fault) time.Duration { return max(c.hold(f, way, free), holdIf(f.HalfOpen)) }); ok {
				_ = to.CloseWrite()
			}
			return
		case c.err != nil:
			if _, ok := l.await(func(f Fault) time.Duration { return c.hold(f, way, free) }); ok {
				l.fail()
			}
			return
		}
	}
}

// deliver writes the bytes of a chunk, in one piece or, under a bandwidth limit,
// in pieces of a hundredth of a second.
func (l *link) deliver(to *net.TCPConn, c chunk, way Direction, free *time.Time) error {
	for rest := c.data; len(rest) > 0; {
		f, ok := l.await(func(f Fault) time.Duration { return c.hold(f, way, *free) })
		if !ok {
			return l.ctx.Err()
		}
		piece := rest
		if f.Bandwidth > 0 {
			piece = rest[:min(len(rest), max(1, f.Bandwidth/100))]
			took := time.Duration(float64(len(piece)) / float64(f.Bandwidth) * float64(time.Second))
			*free = later(*free, time.Now()).Add(took)
		}
		if _, err := to.Write(piece); err != nil {
			return err
		}
		rest = rest[len(piece):]
	}
	return nil
}

// forever is a wait that only a change of fault ends.
const forever = time.Duration(math.MaxInt64)

func holdIf(hold bool) time.Duration {
	if hold {
		return forever
	}
	return 0
}

// hold is how long a chunk has to wait under a fault, on a line that has room
// from the time free on.
func (c chunk) hold(f Fault, way Direction, free time.Time) time.Duration {
	if f.Stall&way != 0 {
		return forever
	}
	due := c.at.Add(f.Latency + time.Duration(c.luck*float64(f.Jitter)))
	if f.Bandwidth > 0 {
		due = later(due, free)
	}
	return time.Until(due)
}

// await waits as long as the fault in force asks for, and asks again whenever it
// changes. Returns the fault that let it through, and false if the link ended.
func (l *link) await(hold func(Fault) time.Duration) (Fault, bool) {
	for {
		r := l.proxy.current()
		wait := hold(r.Fault)
		if wait <= 0 {
			return r.Fault, l.ctx.Err() == nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.changed:
		case <-l.ctx.Done():
			timer.Stop()
			return r.Fault, false
		}
		timer.Stop()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
