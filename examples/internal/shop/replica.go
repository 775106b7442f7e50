package shop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// drain is how long a stopped service may finish what it has begun.
// It is less than the two seconds in which the shop must end, and more than the
// limit per try: what is on its way may arrive, what hangs is cut.
const drain = time.Second

// replica is one running, or stopped, service of this process. Stopping it and
// starting it again is what a new process would be: same address, same stores, empty
// memory.
type replica struct {
	Service
	Name     string // of this one: users, products-2
	config   wire.Config
	network  wire.Network
	addr     string
	faults   func() fault.Orders      // for this service, now
	switches func() wire.SwitchOrders // now
	life     atomic.Pointer[life]     // nil while stopped
	// spawn starts it as a process; nil keeps it in this one.
	spawn func(c wire.Config, ended func(*process)) (*process, error)

	// turn holds one token, which a start or a stop takes while it is at work. It
	// is a channel and no mutex because a stop waits for requests to finish: in a
	// synctest bubble time stands still for those who wait for a mutex.
	turn     chan struct{}
	listener net.Listener  // taken before all services start; nil once it is used
	ended    bool          // for good
	retired  atomic.Bool   // scaled away; Scale may bring it back
	look     chan struct{} // holds a token when its health is to be asked for now
}

// nudge makes its health be asked for now.
func (r *replica) nudge() {
	select {
	case r.look <- struct{}{}:
	default:
	}
}

// running reports whether the service serves.
func (r *replica) running() bool { return r.life.Load() != nil }

// pid is that of its process; 0 while it is stopped.
func (r *replica) pid() int {
	l := r.life.Load()
	if l == nil {
		return 0
	}
	if p, ok := (*l).(*process); ok {
		return p.cmd.Process.Pid
	}
	return os.Getpid()
}

// errEnded is what a start gets that comes while the shop closes.
var errEnded = errors.New("the shop is closing")

// start serves; it does nothing if the service runs.
func (r *replica) start() error {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	switch {
	case r.ended:
		return errEnded
	case r.running():
		return nil
	}
	ln := r.listener
	r.listener = nil
	// The rules are there before the first request. A service that ran for a moment
	// without them would answer a probe, and close breakers on a callee that is sick.
	config := r.config
	config.Faults, config.Switches = r.faults(), r.switches()
	if r.spawn != nil {
		if ln != nil {
			ln.Close() // the port was kept for the child
		}
		p, err := r.spawn(config, r.died)
		if err != nil {
			return err
		}
		r.lives(p)
		return nil
	}
	if ln == nil { // started again: the address must be the old one, since callers know no other
		var err error
		if ln, err = r.network.Listen(r.addr); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	n := wire.NewNode(config)
	mux, err := r.build(n)
	if err != nil {
		n.Discard()
		ln.Close()
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	n.Serve(ln, mux)
	r.lives(n)
	return nil
}

func (r *replica) lives(l life) { r.life.Store(&l) }

// died is told when a process has ended, by whatever hand. It stays away until
// somebody starts it.
func (r *replica) died(p *process) {
	if l := r.life.Load(); l != nil && *l == life(p) {
		r.life.CompareAndSwap(l, nil)
		r.nudge()
	}
}

// end stops the service for good: a restart that somebody has asked for and that
// is still on its way must not leave a service behind.
func (r *replica) end(ctx context.Context) {
	r.turn <- struct{}{}
	r.ended = true
	<-r.turn
	r.stop(ctx)
}

// stop drains and ends the service; it does nothing if the service is stopped.
func (r *replica) stop(ctx context.Context) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.listener != nil {
		r.listener.Close()
		r.listener = nil
	}
	// The node is out of sight before it drains: nobody sends it rules any more.
	l := r.life.Swap(nil)
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	(*l).Stop(ctx)
}
