package sharding

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/sharding"
)

// keys of the simulated cluster are 0 to keys-1.
const keys = 12

// A mutant switches off one rule, to show that the checks need it.
type mutant struct {
	noEpochCheck bool // the shard takes every route for a fresh one
	noMirrorRule bool // a mirror takes every copied write
	noFence      bool // the coordinator does not wait for calls of before
}

// A cluster is shards that keep rows behind guards, a topology store, and what
// an omniscient observer knows. All of it lives in one bubble of virtual time,
// in which at any moment one goroutine runs the parts between two sleeps.
type cluster struct {
	t      *testing.T
	mutant mutant
	store  sharding.Memory
	shards map[sharding.ID]*shard

	mu         sync.Mutex
	rng        *rand.Rand
	committed  [keys]int         // writes that some owner has accepted
	writing    [keys]sharding.ID // the shard inside a write now
	moved      [keys]bool        // by any plan
	mirror     [keys]sharding.ID // every write must be copied there: it is moving, and the fence has passed
	violations []string
	refusals   int
	mirrored   int
	inflight   sync.WaitGroup
}

// shard is a server: a router of its own, a guard, and rows. A row is the
// number of writes that it has seen: a lost update shows as a low number.
type shard struct {
	id     sharding.ID
	router *sharding.Router[int]
	guard  *sharding.Guard[int]
	rows   [keys]row
}

type row struct {
	lock   chan struct{} // holds an element while locked; a sync.Mutex would stop virtual time
	writes int
	exists bool
}

func newCluster(t *testing.T, seed uint64, m mutant) *cluster {
	c := &cluster{t: t, mutant: m, rng: rand.New(rand.NewPCG(seed, 7)), shards: map[sharding.ID]*shard{}}
	first := []sharding.Range[int]{sharding.Between(0, keys/2, "s0"), sharding.Between(keys/2, keys, "s1")}
	require.NoError(t, c.store.Put(t.Context(), sharding.Document{Epoch: 1, Map: encode(first)}))
	for i := range 3 {
		s := &shard{id: sharding.ID(fmt.Sprintf("s%d", i))}
		s.router = c.router()
		s.guard = s.router.Guard(s.id)
		for k := range s.rows {
			s.rows[k].lock = make(chan struct{}, 1)
			s.rows[k].exists = s.id == "s0" && k < keys/2 || s.id == "s1" && k >= keys/2
		}
		c.shards[s.id] = s
	}
	return c
}

func encode(ranges []sharding.Range[int]) []byte {
	doc, err := json.Marshal(ranges)
	if err != nil {
		panic(err)
	}
	return doc
}

func decode(doc []byte) (sharding.Map[int], error) {
	var ranges []sharding.Range[int]
	if err := json.Unmarshal(doc, &ranges); err != nil {
		return nil, err
	}
	return sharding.NewRanges(ranges...)
}

// router opens a router over the store as a bad network shows it.
func (c *cluster) router() *sharding.Router[int] {
	r, err := sharding.Open(c.t.Context(), &lagging{c: c}, decode, sharding.Config{Poll: time.Second})
	require.NoError(c.t, err)
	return r
}

// lagging loses hints, repeats documents of before, and is slow.
type lagging struct {
	c    *cluster
	mu   sync.Mutex
	seen []sharding.Document
}

func (l *lagging) Load(ctx context.Context) (sharding.Document, error) {
	l.c.sleep(20 * time.Millisecond)
	doc, err := l.c.store.Load(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, doc)
	if l.c.chance(3) {
		doc = l.seen[l.c.intn(len(l.seen))]
	}
	return doc, err
}

func (l *lagging) Wait(ctx context.Context, after uint64) error {
	if l.c.chance(2) {
		<-ctx.Done() // the hint is lost
		return context.Cause(ctx)
	}
	return l.c.store.Wait(ctx, after)
}

// intn and chance share one generator, so that a seed is a whole history.
func (c *cluster) intn(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

func (c *cluster) chance(oneIn int) bool { return c.intn(oneIn) == 0 }

// sleep takes up to most, most often little, as networks do.
func (c *cluster) sleep(most time.Duration) {
	d := time.Duration(c.intn(int(most)))
	if c.chance(2) {
		d /= 20
	}
	time.Sleep(d)
}

func (c *cluster) violate(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

// write is the server's side of a write: f of Guard.Write. rt is the client's
// route, by which it is going to send the copy.
func (c *cluster) write(s *shard, key int, rt sharding.Route) (writes int) {
	r := &s.rows[key]
	r.lock <- struct{}{}
	defer func() { <-r.lock }()
	c.mu.Lock()
	if other := c.writing[key]; other != "" && other != s.id {
		c.violations = append(c.violations, fmt.Sprintf("%s and %s write key %d at a time", other, s.id, key))
	}
	if r.writes != c.committed[key] {
		c.violations = append(c.violations, fmt.Sprintf("%s writes key %d on top of %d writes, %d are committed", s.id, key, r.writes, c.committed[key]))
	}
	// A route that a refusal gave knows no mirror; the copy is missed then, as
	// if it had failed on the way, and the next copy of all keys repairs it.
	hint := rt == sharding.Route{Shard: rt.Shard, Epoch: rt.Epoch}
	if want := c.mirror[key]; want != "" && want != rt.Mirror() && !hint {
		c.violations = append(c.violations, fmt.Sprintf("a write of key %d will be copied to %q, not to %q", key, rt.Mirror(), want))
	}
	c.writing[key] = s.id
	c.mu.Unlock()
	c.sleep(3 * time.Millisecond) // between reading and writing the row
	r.writes, r.exists = r.writes+1, true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed[key]++
	c.writing[key] = ""
	return r.writes
}

// put applies a copy where the target is older.
func (s *shard) put(key, writes int) {
	r := &s.rows[key]
	r.lock <- struct{}{}
	defer func() { <-r.lock }()
	if !r.exists || r.writes < writes {
		r.writes, r.exists = writes, true
	}
}

// get reads a row, 0 if there is none.
func (s *shard) get(key int) int {
	r := &s.rows[key]
	r.lock <- struct{}{}
	defer func() { <-r.lock }()
	return r.writes
}

// remove deletes a row.
func (s *shard) remove(key int) {
	r := &s.rows[key]
	r.lock <- struct{}{}
	defer func() { <-r.lock }()
	r.writes, r.exists = 0, false
}
