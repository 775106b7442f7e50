package shop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/broker"
	"github.com/keelson-go/keelson/examples/internal/shop/gateway"
	"github.com/keelson-go/keelson/examples/internal/shop/inventory"
	"github.com/keelson-go/keelson/examples/internal/shop/l2"
	"github.com/keelson-go/keelson/examples/internal/shop/mailer"
	"github.com/keelson-go/keelson/examples/internal/shop/orders"
	"github.com/keelson-go/keelson/examples/internal/shop/payments"
	"github.com/keelson-go/keelson/examples/internal/shop/products"
	"github.com/keelson-go/keelson/examples/internal/shop/registry"
	"github.com/keelson-go/keelson/examples/internal/shop/shipping"
	"github.com/keelson-go/keelson/examples/internal/shop/users"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Service is an entry of the table of services. All that differs between them is
// in it, so that one process per service, or one for all, is a matter of who reads
// the table.
type Service struct {
	Name      string
	Port      int      // the default
	Needs     []string // services that it calls
	Entry     bool     // faces clients
	Backplane bool     // belongs to control, outside the failure domain, also with -procs
	Replicas  int      // how many there may be; 0 is one, under the service's own name
	build     func(*wire.Node) (*http.ServeMux, error)
}

// services is the table, outermost first; they stop in this order.
var services = []Service{
	{Name: "gateway", Port: 8000, Needs: []string{"users", "products", "orders", "payments", "inventory", "mailer", "cache"}, Entry: true, build: gateway.New},
	{Name: "orders", Port: 3001, Needs: []string{"users", "products", "payments", "inventory", "shipping", "broker"}, build: orders.New},
	{Name: "users", Port: 3000, Needs: []string{"broker", "cache", "mailer"}, build: users.New},
	{Name: "products", Port: 3002, Needs: []string{"cache"}, Replicas: 5, build: products.New},
	{Name: "payments", Port: 3003, Needs: []string{"broker"}, build: payments.New},
	{Name: "inventory", Port: 3004, Needs: []string{"broker"}, build: inventory.New},
	{Name: "shipping", Port: 3005, Needs: []string{"broker"}, build: shipping.New},
	{Name: "mailer", Port: 3006, Needs: []string{"broker"}, build: mailer.New},
	{Name: "broker", Port: 3007, Backplane: true, build: func(n *wire.Node) (*http.ServeMux, error) { return broker.NewFront(newBroker()).Routes(n) }},
	{Name: "cache", Port: 3008, Backplane: true, build: func(n *wire.Node) (*http.ServeMux, error) { return l2.Routes(cachetest.NewCluster(1))(n) }},
	{Name: "registry", Port: 8500, build: registry.New},
}

// newBroker is a broker that knows all groups: whoever starts late misses nothing.
func newBroker() *messaging.Memory {
	memory := messaging.NewMemory(messaging.Config{})
	for topic, groups := range map[string][]string{
		"user-events": {"payment-wallets"}, "email-queue": {"mailer"}, "email-queue.mailer.dead": {"mailer-dead"},
		wire.OrderEvents: {"order-service", "payment-service", "inventory-service", "shipping-service", "trace"},
	} {
		for _, group := range groups {
			memory.Declare(topic, group)
		}
	}
	return memory
}

// FindService returns the entry of that name.
func FindService(name string) (Service, error) {
	var names []string
	for _, s := range services {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Service{}, fmt.Errorf("no service %q; there are: %s", name, strings.Join(names, ", "))
}

// ServeAlone runs one service in the foreground until ctx ends, on ln.
func ServeAlone(ctx context.Context, svc Service, ln net.Listener, c Config, spec Spec) error {
	c.Engines = c.Engines.withDefaults(c.Data)
	n := wire.NewNode(wire.Config{
		Name: spec.Name, Service: svc.Name, Network: wire.TCP{}, Peers: spec.Peers, Settings: c.Preset.Wire, Seed: c.Seed,
		Entry: svc.Entry, Secret: spec.Secret, Key: spec.Key, Saga: c.Saga, Sabotage: c.Sabotage, Faults: spec.Faults, Switches: spec.Switches,
		Stores: c.Engines.stores(svc.Name), Broker: c.Engines.Broker, Cache: c.Engines.Cache, Kill: die,
		Collect: spec.Collect, Registry: spec.Registry, Check: spec.Check, CheckFor: spec.CheckFor, Logger: c.Logger,
	})
	mux, err := svc.build(n)
	if err != nil {
		n.Discard()
		ln.Close()
		return err
	}
	n.Serve(ln, mux)
	<-ctx.Done()
	// ctx has ended, and with it anything derived from it; the drain needs time.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	n.Stop(end)
	return nil
}

// die is a crash on purpose: the process is gone as if somebody had pulled the plug.
// Nothing is deferred, flushed or said.
func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {} // the signal takes a moment, in which nothing must go on
}

// Alone is the Spec of a service that nobody has started but its user: its callees
// are where the environment says, or at their default ports. There is no control, so
// no faults and no page.
func Alone(svc Service, env func(string) string) Spec {
	s := Spec{Name: svc.replicaName(1), Key: keyFrom(env), Secret: env("SHOP_SECRET"), Peers: map[string][]wire.Instance{}}
	for _, need := range svc.Needs {
		s.Peers[need] = []wire.Instance{{Name: need, URL: peerURL(need, env)}}
	}
	return s
}

// peerURL is where a service that runs alone looks for one that it calls: the
// environment's USERS_URL for users, and so on, else the default port.
func peerURL(name string, env func(string) string) string {
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

// keyFrom is the key for tokens of a service that runs alone: SHOP_KEY in hex, which
// users and the gateway must share, else one that nobody else has.
func keyFrom(env func(string) string) []byte {
	key, err := hex.DecodeString(env("SHOP_KEY"))
	if err != nil || len(key) < 32 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails, says its documentation
	}
	return key
}
