package cacheredis

import (
	"context"
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
	micros := wholeMillis(lease) * 1000
	tokens := drawTokens(len(queries))
	calls := s.split(len(queries), func(from, to int) *call {
		c := newCall(getScript, to-from, 1+to-from)
		c.args = append(c.args, micros)
		for i := from; i < to; i++ {
			c.keys = append(c.keys, s.prefix+queries[i].Key)
			c.args = append(c.args, encodeQuery(queries[i], tokens[i]))
		}
		return c
	})
	if err := s.conn.run(ctx, calls); err != nil {
		return nil, err
	}
	records := make([]cache.Record, 0, len(queries))
	for _, c := range calls {
		reply, err := c.slice(1 + 2*len(c.keys))
		if err != nil {
			return nil, err
		}
		now, _ := reply[0].(int64)
		for i := 1; i < len(reply); i += 2 {
			raw, _ := reply[i].(string)
			at := len(records)
			r := decodeRecord(raw, now, queries[at].Version)
			if reply[i+1] == int64(1) {
				r.Token, r.Held = tokens[at], false
			}
			records = append(records, r)
		}
	}
	return records, nil
}

// Put implements [cache.Remote].
func (s *Store) Put(ctx context.Context, fills []cache.Fill) ([]bool, error) {
	for _, f := range fills {
		if f.Data != nil && f.Version == 0 {
			return nil, fmt.Errorf("cacheredis: Fill.Version of key %.100q is 0; it has to be random and not 0", f.Key)
		}
	}
	calls := s.split(len(fills), func(from, to int) *call {
		c := newCall(putScript, to-from, 2*(to-from))
		for _, f := range fills[from:to] {
			c.keys = append(c.keys, s.prefix+f.Key)
			c.args = append(c.args, encodeFill(f), f.Data)
		}
		return c
	})
	if err := s.conn.run(ctx, calls); err != nil {
		return nil, err
	}
	stored := make([]bool, 0, len(fills))
	for _, c := range calls {
		reply, err := c.slice(len(c.keys))
		if err != nil {
			return nil, err
		}
		for _, done := range reply {
			stored = append(stored, done == int64(1))
		}
	}
	return stored, nil
}

// Invalidate implements [cache.Remote]. It also publishes m.
func (s *Store) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	c := newCall(invalidateScript, 2, 5+len(m.Tags))
	c.keys = append(c.keys, s.tags, s.bus)
	c.args = append(c.args, encodeMessage(m), flag(m.Soft), flag(m.Clear), flag(s.config.PubSub), s.config.StreamLen)
	for _, tag := range m.Tags {
		c.args = append(c.args, tag)
	}
	if s.conn.many() {
		if err := s.forget(ctx, m); err != nil {
			return cache.Message{}, err
		}
	} else {
		for _, key := range m.Keys {
			c.keys = append(c.keys, s.prefix+key)
		}
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
		c.args = append(c.args, flag(m.Soft))
		for _, key := range m.Keys[from:to] {
			c.keys = append(c.keys, s.prefix+key)
		}
		return c
	})
	return s.conn.confirmed(ctx, calls, s.config.WaitReplicas)
}

// Generations implements [cache.Remote].
func (s *Store) Generations(ctx context.Context, tags []string) (cache.Generations, error) {
	c := newCall(generationsScript, 1, len(tags))
	c.keys = append(c.keys, s.tags)
	for _, tag := range tags {
		c.args = append(c.args, tag)
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
	c.keys = append(c.keys, s.bus)
	c.args = append(c.args, encodeMessage(m), flag(s.config.PubSub), s.config.StreamLen, m.Generation)
	return s.conn.run(ctx, []*call{c})
}

// chunk is how many keys one script works on, so that others get their turn in
// between: below a millisecond for small values.
const chunk = 128

// split makes the calls for n keys: one node takes many keys per script, a
// Cluster one, since each may be in another slot.
func (s *Store) split(n int, part func(from, to int) *call) (calls []*call) {
	size := chunk
	if s.conn.many() {
		size = 1
	}
	for from := 0; from < n; from += size {
		calls = append(calls, part(from, min(from+size, n)))
	}
	return calls
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

var errReply = errors.New("cacheredis: the server answered what the script does not")
