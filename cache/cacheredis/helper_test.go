package cacheredis_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/redis/go-redis/v9"
)

// names numbers the stores, so that each has keys of its own.
var names atomic.Int64

func newName() string { return fmt.Sprintf("test-%d", names.Add(1)) }

// connect returns a client of one node that keeps to deadlines.
func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func open(t *testing.T, client redis.UniversalClient, c cacheredis.Config) *cacheredis.Store {
	t.Helper()
	s, err := cacheredis.New(client, newName(), c)
	require.NoError(t, err)
	return s
}

// one starts a node and returns a client of it.
func one(t *testing.T) *redis.Client {
	t.Helper()
	return connect(t, engine.Redis(t).Addr())
}

// line counts the round trips of the connections that it dials, as the wire sees
// them: a turn from reading to writing.
type line struct{ turns atomic.Int64 }

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	return &counted{Conn: conn, line: l}, err
}

type counted struct {
	net.Conn
	line    *line
	writing atomic.Bool
}

func (c *counted) Write(b []byte) (int, error) {
	if !c.writing.Swap(true) {
		c.line.turns.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.writing.Store(false)
	return n, err
}

// take returns the round trips of f.
func (l *line) take(f func()) int64 {
	before := l.turns.Load()
	f()
	return l.turns.Load() - before
}

// owner keeps the connections that it dials.
type owner struct {
	mu    sync.Mutex
	conns map[*owned]bool // which are open
}

type owned struct {
	net.Conn
	owner *owner
}

func (o *owner) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	one := &owned{conn, o}
	o.set(one, true)
	return one, nil
}

func (o *owner) set(one *owned, isOpen bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		o.conns = make(map[*owned]bool)
	}
	o.conns[one] = isOpen
}

func (o *owner) open() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, isOpen := range o.conns {
		if isOpen {
			n++
		}
	}
	return n
}

func (c *owned) Close() error {
	c.owner.set(c, false)
	return c.Conn.Close()
}

// under is a context that ends after d.
func under(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls, since what happens at a server has no signal here.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// claim gets the lease of a key.
func claim(t *testing.T, s cache.Remote, key string, lease time.Duration) uint64 {
	t.Helper()
	records, err := s.Get(t.Context(), []cache.Query{{Key: key}}, lease)
	require.NoError(t, err)
	require.True(t, records[0].Token != 0, "the lease of %q is granted, not %+v", key, records[0])
	return records[0].Token
}

func look(t *testing.T, s cache.Remote, key string) cache.Record {
	t.Helper()
	records, err := s.Get(t.Context(), []cache.Query{{Key: key}}, 0)
	require.NoError(t, err)
	return records[0]
}

func put(t *testing.T, s cache.Remote, f cache.Fill) bool {
	t.Helper()
	stored, err := s.Put(t.Context(), []cache.Fill{f})
	require.NoError(t, err)
	return stored[0]
}

func invalidate(t *testing.T, s cache.Remote, m cache.Message) cache.Message {
	t.Helper()
	done, err := s.Invalidate(t.Context(), m)
	require.NoError(t, err)
	return done
}

func generations(t *testing.T, s cache.Remote, tags ...string) cache.Generations {
	t.Helper()
	g, err := s.Generations(t.Context(), tags)
	require.NoError(t, err)
	return g
}

// heard is a subscription in the background.
type heard struct {
	messages chan cache.Message
	ended    chan error
	leave    func() error
}

func subscribe(t *testing.T, b cache.Bus, after uint64) *heard {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &heard{messages: make(chan cache.Message, 10_000), ended: make(chan error, 1)}
	go func() { h.ended <- b.Subscribe(ctx, after, func(m cache.Message) { h.messages <- m }) }()
	h.leave = func() error { cancel(); return h.end(t) }
	t.Cleanup(cancel)
	return h
}

func (h *heard) next(t *testing.T) cache.Message {
	t.Helper()
	select {
	case m := <-h.messages:
		return m
	case err := <-h.ended:
		t.Fatalf("the subscription has ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing is delivered within 30 s")
	}
	return cache.Message{}
}

func (h *heard) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-h.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("the subscription does not end within 30 s")
		return nil
	}
}
