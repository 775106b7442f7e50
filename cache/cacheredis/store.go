package cacheredis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/redis/go-redis/v9"
)

// Store is a [cache.Remote] and a [cache.Bus] on Redis. All nodes that use the
// same name share one cache. It has nothing to close; the client is the
// caller's, to be closed after the caches. Safe for concurrent use.
type Store struct {
	conn   conn
	config Config
	prefix string // of the records
	tags   string // key of the stamps
	bus    string // key of the log, or of the counter and name of the channel
	marks  marks
}

var (
	_ cache.Remote = (*Store)(nil)
	_ cache.Bus    = (*Store)(nil)
)

// Config is how a [Store] uses Redis. All nodes of a cache need the same. The
// zero Config is good.
type Config struct {
	// PubSub sends invalidations by PUBLISH instead of a stream. That costs the
	// server no memory, and each reconnect of a node is a gap, after which it
	// checks what it has. Zero means a stream.
	PubSub bool

	// StreamLen is how many messages are kept, at least, for nodes that come
	// back. Zero means 16384.
	StreamLen int64

	// WaitReplicas is how many replicas have to confirm an invalidation (WAIT, one
	// more round trip); with fewer it fails. Zero means none.
	WaitReplicas int
}

const defaultStreamLen = 16384

var nameFormat = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// New returns a Store whose keys begin with name, which is 1 to 64 of
// [a-z0-9._-]. It does no I/O. client is a *redis.Client, of one node or of
// Sentinel, a *redis.ClusterClient, or a type that embeds one of them. A
// *redis.Ring is refused: a node that leaves the ring and comes back brings old
// records along.
func New(client redis.UniversalClient, name string, c Config) (*Store, error) {
	if !nameFormat.MatchString(name) {
		return nil, fmt.Errorf("cacheredis: name is %q; it has to be 1 to 64 of [a-z0-9._-]", name)
	}
	if c.StreamLen < 0 {
		return nil, fmt.Errorf("cacheredis: Config.StreamLen is %d; it may not be negative", c.StreamLen)
	}
	if c.WaitReplicas < 0 {
		return nil, fmt.Errorf("cacheredis: Config.WaitReplicas is %d; it may not be negative", c.WaitReplicas)
	}
	if c.StreamLen == 0 {
		c.StreamLen = defaultStreamLen
	}
	conn, err := newConn(client)
	if err != nil {
		return nil, err
	}
	bus := "{" + name + "}:bus"
	if c.PubSub { // a counter of its own, in case that a stream was used before
		bus = "{" + name + "}:channel"
	}
	return &Store{conn: conn, config: c, prefix: name + ":", tags: "{" + name + "}:tags", bus: bus}, nil
}

// Get implements [cache.Remote].
func (s *Store) Get(ctx context.Context, queries []cache.Query, lease time.Duration) ([]cache.Record, error) {
	asker := drawAsker()
	micros, who := wholeMillis(lease)*1000, binary.BigEndian.AppendUint64(nil, asker)[:5]
	calls := s.split(len(queries), func(from, to int) *call {
		part := queries[from:to]
		c := newCall(getScript, len(part), 3)
		c.addTexts(len(part), func(i int) (string, string) { return s.prefix, part[i].Key })
		c.add(micros, who, encodeQueries(part))
		return c
	})
	if err := s.conn.run(ctx, calls); err != nil {
		return nil, err
	}
	records := make([]cache.Record, len(queries))
	for i, c := range calls {
		from, to := s.part(i, len(queries))
		if err := c.records(queries[from:to], asker, lease > 0, records[from:to]); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// records takes the reply of get.lua apart. All data stand in one piece of memory.
func (c *call) records(queries []cache.Query, asker uint64, leases bool, into []cache.Record) error {
	n := len(queries)
	reply, err := c.slice(n + 2)
	if err != nil {
		return err
	}
	now, _ := reply[n].(int64)
	token := tokenOf(asker, now)
	size := 0
	for _, v := range reply[:n] {
		raw, _ := v.(string)
		size += max(0, len(raw)-headerLen)
	}
	room := make([]byte, 0, size)
	for i, q := range queries {
		raw, ok := reply[i].(string)
		if !ok && leases {
			into[i].Token = token | bareLease
			continue
		}
		into[i], room = decodeRecord(raw, now, q.Version, room)
	}
	return indexes(reply[n+1], n, func(i int) {
		into[i].Token, into[i].Held = token, false
	})
}

// Put implements [cache.Remote].
func (s *Store) Put(ctx context.Context, fills []cache.Fill) ([]bool, error) {
	for _, f := range fills {
		if f.Data != nil && f.Version == 0 {
			return nil, fmt.Errorf("cacheredis: Fill.Version of key %.100q is 0; it has to be random and not 0", f.Key)
		}
	}
	calls := s.split(len(fills), func(from, to int) *call {
		part := fills[from:to]
		c := newCall(putScript, len(part), 2+len(part))
		c.addTexts(len(part), func(i int) (string, string) { return s.prefix, part[i].Key })
		specs, bare := encodeFills(part)
		c.add(specs, flag(bare))
		c.addFills(part)
		return c
	})
	if err := s.conn.run(ctx, calls); err != nil {
		return nil, err
	}
	stored := make([]bool, len(fills))
	for i := range stored {
		stored[i] = true
	}
	for i, c := range calls {
		from, to := s.part(i, len(fills))
		if err := indexes(c.reply.Val(), to-from, func(i int) { stored[from+i] = false }); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// Invalidate implements [cache.Remote]. It also publishes m.
func (s *Store) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	here := m.Keys // in the same script as the message
	if s.conn.many() {
		if err := s.forget(ctx, m); err != nil {
			return cache.Message{}, err
		}
		here = nil
	}
	c := newCall(invalidateScript, 2+len(here), 5+len(m.Tags))
	c.add(s.tags, s.bus)
	c.addTexts(len(here), func(i int) (string, string) { return s.prefix, here[i] })
	c.add(encodeMessage(m), flag(m.Soft), flag(m.Clear), flag(s.config.PubSub), s.config.StreamLen)
	for _, tag := range m.Tags {
		c.add(tag)
	}
	if err := s.conn.confirmed(ctx, []*call{c}, s.config.WaitReplicas); err != nil {
		return cache.Message{}, err
	}
	numbers, err := c.numbers(2)
	if err != nil {
		return cache.Message{}, err
	}
	m.Generation, m.Seq = numbers[0], numbers[1]
	return m, nil
}

// forget ends the records of m in whatever slots they are.
func (s *Store) forget(ctx context.Context, m cache.Message) error {
	calls := s.split(len(m.Keys), func(from, to int) *call {
		c := newCall(forgetScript, to-from, 1)
		c.addTexts(to-from, func(i int) (string, string) { return s.prefix, m.Keys[from+i] })
		c.add(flag(m.Soft))
		return c
	})
	return s.conn.confirmed(ctx, calls, s.config.WaitReplicas)
}

// Generations implements [cache.Remote].
func (s *Store) Generations(ctx context.Context, tags []string) (cache.Generations, error) {
	c := newCall(generationsScript, 1, len(tags))
	c.add(s.tags)
	for _, tag := range tags {
		c.add(tag)
	}
	if err := s.conn.run(ctx, []*call{c}); err != nil {
		return cache.Generations{}, err
	}
	numbers, err := c.numbers(2 + len(tags))
	if err != nil {
		return cache.Generations{}, err
	}
	return cache.Generations{Now: numbers[0], Clear: numbers[1], Tags: numbers[2:]}, nil
}

// Publish implements [cache.Bus].
func (s *Store) Publish(ctx context.Context, m cache.Message) error {
	c := newCall(publishScript, 1, 4)
	c.add(s.bus, encodeMessage(m), flag(s.config.PubSub), s.config.StreamLen, m.Generation)
	return s.conn.run(ctx, []*call{c})
}

// chunk is how many keys one script works on, so that others get their turn in
// between: below a millisecond for small values.
const chunk = 128

// split makes the calls for n keys: one node takes many keys per script, a
// Cluster one, since each may be in another slot.
func (s *Store) split(n int, one func(from, to int) *call) []*call {
	calls := make([]*call, 0, (n+s.size()-1)/s.size())
	for len(calls) < cap(calls) {
		calls = append(calls, one(s.part(len(calls), n)))
	}
	return calls
}

// part is which of n keys the i-th call is about.
func (s *Store) part(i, n int) (from, to int) { return i * s.size(), min((i+1)*s.size(), n) }

func (s *Store) size() int {
	if s.conn.many() {
		return 1
	}
	return chunk
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

var errReply = errors.New("cacheredis: the server answered what the script does not")
