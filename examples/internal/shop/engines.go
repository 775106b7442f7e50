package shop

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/examples/internal/shop/broker"
	"github.com/keelson-go/keelson/examples/internal/shop/l2"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// Engines is all that differs between a light shop and one on real engines. Each
// function opens what one service owns; what has a Close is closed by the service.
type Engines struct {
	Network wire.Network                                    // nil means TCP on loopback
	Events  func(service, part string) (wire.Events, error) // nil means files, or memory without Data
	Sagas   func(service string) (saga.Store, error)        // the same
	Broker  func(*wire.Node) wire.Broker                    // nil means memory behind HTTP, in control
	Cache   func(*wire.Node) (cache.Remote, cache.Bus)      // the same
}

// withDefaults fills in what is nil: logs in directories below data, a directory
// per service, or in memory if data is empty.
func (e Engines) withDefaults(data string) Engines {
	if e.Network == nil {
		e.Network = wire.TCP{}
	}
	if e.Broker == nil {
		e.Broker = broker.Dial
	}
	if e.Cache == nil {
		e.Cache = l2.Dial
	}
	memory := &memoryStores{events: map[string]*eventsource.Memory{}, sagas: map[string]*saga.Memory{}}
	if e.Events == nil && data == "" {
		e.Events = memory.open
	}
	if e.Sagas == nil && data == "" {
		e.Sagas = memory.openSagas
	}
	if e.Events == nil {
		e.Events = func(service, part string) (wire.Events, error) {
			dir, err := below(data, service, part)
			if err != nil {
				return nil, err
			}
			return eventfile.Open(dir, eventfile.Config{})
		}
	}
	if e.Sagas == nil {
		e.Sagas = func(service string) (saga.Store, error) {
			dir, err := below(data, service, "sagas")
			if err != nil {
				return nil, err
			}
			return sagafile.Open(dir, sagafile.Config{})
		}
	}
	return e
}

// below is the directory of a part of a service. A part that leads out of the service's
// own directory is refused: what is next door is somebody else's.
func below(data, service, part string) (string, error) {
	if !filepath.IsLocal(part) || !filepath.IsLocal(service) {
		return "", fmt.Errorf("store %q of %s: want a name without a way out", part, service)
	}
	return filepath.Join(data, service, part), nil
}

// stores are those of one service: it gets no function that could open another's.
func (e Engines) stores(service string) wire.Stores {
	return wire.Stores{
		Events: func(part string) (wire.Events, error) { return e.Events(service, part) },
		Sagas:  func() (saga.Store, error) { return e.Sagas(service) },
	}
}

// memoryStores outlive the services that use them, as files would: a service that
// is stopped and started again finds what it had.
type memoryStores struct {
	mu     sync.Mutex
	events map[string]*eventsource.Memory
	sagas  map[string]*saga.Memory
}

func (m *memoryStores) open(service, part string) (wire.Events, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := service + "/" + part
	if m.events[name] == nil {
		m.events[name] = eventsource.NewMemory()
	}
	return m.events[name], nil
}

func (m *memoryStores) openSagas(service string) (saga.Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sagas[service] == nil {
		m.sagas[service] = saga.NewMemory()
	}
	return m.sagas[service], nil
}
