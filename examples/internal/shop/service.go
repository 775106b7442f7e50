package shop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/gateway"
	"github.com/keelson-go/keelson/examples/internal/shop/orders"
	"github.com/keelson-go/keelson/examples/internal/shop/users"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Service is an entry of the table of services. All that differs between them is
// in it, so that one process per service, or one for all, is a matter of who reads
// the table.
type Service struct {
	Name  string
	Port  int      // the default
	Needs []string // services that it calls
	Entry bool     // faces clients
	build func(*wire.Node) *http.ServeMux
}

// services is the table, outermost first; they stop in this order.
var services = []Service{
	{Name: "gateway", Port: 8000, Needs: []string{"users", "orders"}, Entry: true, build: gateway.New},
	{Name: "orders", Port: 3001, Needs: []string{"users"}, build: orders.New},
	{Name: "users", Port: 3000, build: users.New},
}

// FindService returns the entry of that name.
func FindService(name string) (Service, error) {
	for _, s := range services {
		if s.Name == name {
			return s, nil
		}
	}
	return Service{}, fmt.Errorf("no service %q; there are: gateway, orders, users", name)
}

// drain is how long a stopped service may finish what it has begun.
// It is less than the two seconds in which the shop must end, and more than the
// limit per try: what is on its way may arrive, what hangs is cut.
const drain = time.Second

// replica is one running, or stopped, service of this process. Stopping it and
// starting it again is what a new process would be: same address, empty memory.
type replica struct {
	Service
	config   wire.Config
	network  wire.Network
	addr     string
	faults   func() fault.Orders       // for this service, now
	switches func() wire.SwitchOrders  // now
	node     atomic.Pointer[wire.Node] // nil while stopped

	// turn holds one token, which a start or a stop takes while it is at work. It
	// is a channel and no mutex because a stop waits for requests to finish: in a
	// synctest bubble time stands still for those who wait for a mutex.
	turn     chan struct{}
	listener net.Listener // taken before all services start; nil once it is used
	ended    bool         // for good
}

// running reports whether the service serves.
func (r *replica) running() bool { return r.node.Load() != nil }

// errEnded is what a start gets that comes while the shop closes.
var errEnded = errors.New("the shop is closing")

// start serves; it does nothing if the service runs.
func (r *replica) start() error {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	switch {
	case r.ended:
		return errEnded
	case r.node.Load() != nil:
		return nil
	}
	ln := r.listener
	r.listener = nil
	if ln == nil { // started again: the address must be the old one, since callers know no other
		var err error
		if ln, err = r.network.Listen(r.addr); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	// The rules are there before the first request. A service that ran for a moment
	// without them would answer a probe, and close breakers on a callee that is sick.
	config := r.config
	config.Faults, config.Switches = r.faults(), r.switches()
	n := wire.NewNode(config)
	n.Serve(ln, r.build(n))
	r.node.Store(n)
	return nil
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
	n := r.node.Swap(nil)
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	n.Stop(ctx)
}

// ServeAlone runs one service in the foreground until ctx ends, on ln, with the
// base URLs of what it calls. There is no control, so no faults and no page.
func ServeAlone(ctx context.Context, s Service, ln net.Listener, peers map[string]string, p Preset, base wire.Config) {
	base.Name, base.Entry, base.Peers, base.Settings, base.Network = s.Name, s.Entry, peers, p.Wire, wire.TCP{}
	n := wire.NewNode(base)
	n.Serve(ln, s.build(n))
	<-ctx.Done()
	// ctx has ended, and with it anything derived from it; the drain needs time.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	n.Stop(end)
}

// PeerURL is where a service that runs alone looks for one that it calls: the
// environment's USERS_URL for users, and so on, else the default port.
func PeerURL(name string, env func(string) string) string {
	if url := env(strings.ToUpper(name) + "_URL"); url != "" {
		return strings.TrimSuffix(url, "/")
	}
	for _, s := range services {
		if s.Name == name {
			return fmt.Sprintf("http://127.0.0.1:%d", s.Port)
		}
	}
	return ""
}

// peersOf returns the base URLs of what a service calls. It is given no others:
// a call that is not in the table cannot be made by accident.
func peersOf(s Service, all []*replica) map[string]string {
	peers := map[string]string{}
	for _, r := range all {
		if slices.Contains(s.Needs, r.Name) {
			peers[r.Name] = "http://" + r.addr
		}
	}
	return peers
}
