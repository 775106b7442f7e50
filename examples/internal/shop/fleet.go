package shop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/examples/internal/shop/broker"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/l2"
	"github.com/keelson-go/keelson/examples/internal/shop/orders"
	"github.com/keelson-go/keelson/examples/internal/shop/products"
	"github.com/keelson-go/keelson/examples/internal/shop/users"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// all are the replicas that there are now, without those that were scaled away.
func (s *Shop) all() []*replica {
	s.fleet.Lock()
	defer s.fleet.Unlock()
	return slices.DeleteFunc(slices.Clone(s.replicas), func(r *replica) bool { return r.retired.Load() })
}

// enlist takes an address for a replica, the service's own if it is the first, and
// adds it to the fleet. It neither runs nor knows its peers yet.
func (s *Shop) enlist(svc Service, n int) (*replica, error) {
	port := svc.Port
	if n > 1 || s.config.FreePorts {
		port = 0
	}
	ln, err := wire.ListenPreferred(s.network, port)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", svc.Name, err)
	}
	r := &replica{
		Service: svc, Name: svc.replicaName(n), network: s.network, addr: ln.Addr().String(), listener: ln, turn: make(chan struct{}, 1), look: make(chan struct{}, 1),
		switches: s.switchOrders,
	}
	if s.config.Procs && !svc.Backplane {
		r.spawn = func(c wire.Config, ended func(*process)) (*process, error) { return s.spawn(r, c, ended) }
	}
	r.faults = func() fault.Orders { return s.orders(r.Name) }
	s.fleet.Lock()
	s.replicas = append(s.replicas, r)
	s.fleet.Unlock()
	return r, nil
}

// replicaName is that of replica n, from 1: products-1, but users.
func (s Service) replicaName(n int) string {
	if s.Replicas == 0 {
		return s.Name
	}
	return s.Name + "-" + strconv.Itoa(n)
}

// adapt makes a service what it is in this shop. What keeps nothing over a crash, broker
// and L2, is put into the hands of control: there it outlives every stop of its front.
func (s *Shop) adapt(svc Service) Service {
	switch svc.Name {
	case "broker":
		memory := newBroker()
		s.topics, svc.build = memory, broker.NewFront(memory).Routes
	case "orders":
		if s.monolith != nil {
			svc.build = orders.NewInMonolith(s.monolith.whole)
		}
	case "cache":
		svc.build = l2.Routes(cachetest.NewCluster(s.config.Seed))
	}
	return svc
}

// brief tells a replica all that it has to know, once all addresses are taken. A
// replica behind the first has no stores, and is told where those are.
func (s *Shop) brief(r *replica) {
	r.config = wire.Config{
		Name: r.Name, Service: r.Service.Name, Network: s.network, Peers: s.peersOf(r), Settings: s.config.Preset.Wire,
		Stores: s.config.Engines.stores(r.Service.Name), Broker: s.config.Engines.Broker, Cache: s.config.Engines.Cache, Key: s.key,
		Registry: cmp.Or(s.config.Registry, s.URL("registry")), Check: s.config.Preset.HealthEvery, CheckFor: s.config.Preset.HealthLimit,
		Seed: s.config.Seed, Entry: r.Entry, Secret: s.secret, Collect: s.collect, Saga: s.config.Saga, Sabotage: s.config.Sabotage, Logger: s.config.Logger,
	}
}

// peersOf returns where to find what a replica calls. It is given no others: a call
// that is not in the table cannot be made by accident.
func (s *Shop) peersOf(r *replica) map[string][]wire.Instance {
	peers := map[string][]wire.Instance{}
	for _, other := range s.all() {
		at := wire.Instance{Name: other.Name, URL: "http://" + other.addr}
		if slices.Contains(r.Needs, other.Service.Name) {
			peers[other.Service.Name] = append(peers[other.Service.Name], at)
		}
		if other.Name == "products-1" && r.Service.Name == "products" && r != other {
			peers[products.Writer] = []wire.Instance{at}
		}
	}
	return peers
}

// Scale brings a service to n replicas: new ones are started, and found by the
// registry; those that are too many sign off, and finish what they have.
func (s *Shop) Scale(service string, n int) error {
	svc, err := FindService(service)
	if err != nil {
		return err
	}
	if svc.Replicas == 0 {
		return fmt.Errorf("%s cannot be scaled: it has one writer, and products alone has readers", service)
	}
	if n < 1 || n > svc.Replicas {
		return fmt.Errorf("%d replicas of %s: want 1 to %d", n, service, svc.Replicas)
	}
	s.scaling <- struct{}{} // one at a time
	defer func() { <-s.scaling }()
	for i := 2; i <= svc.Replicas; i++ {
		if i <= n {
			err = s.grow(svc, i)
		} else {
			s.shrink(svc.replicaName(i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// grow starts replica i, whether it was there before or not.
func (s *Shop) grow(svc Service, i int) error {
	name := svc.replicaName(i)
	s.fleet.Lock()
	at := slices.IndexFunc(s.replicas, func(r *replica) bool { return r.Name == name })
	s.fleet.Unlock()
	if at < 0 {
		r, err := s.enlist(svc, i)
		if err != nil {
			return err
		}
		s.brief(r)
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			r.stop(context.Background())
			return errEnded
		}
		s.wg.Go(func() { s.watch(r) }) // under mu: Close has not begun to wait
		s.mu.Unlock()
		return r.start()
	}
	s.fleet.Lock()
	r := s.replicas[at]
	s.fleet.Unlock()
	was := r.retired.Swap(false)
	if err := r.start(); err != nil {
		return err
	}
	if was {
		s.collector.SetService(r.Name, "unknown", r.addr, r.pid())
	}
	return nil
}

func (s *Shop) shrink(name string) {
	for _, r := range s.all() {
		if r.Name == name {
			r.stop(s.ctx)
			r.retired.Store(true)
			s.collector.Forget(name)
		}
	}
}

// FirstSecret is what Alice (1) or Bob (2) signs in with, in this run.
func (s *Shop) FirstSecret(user int) string { return users.FirstSecret(s.key, user) }
