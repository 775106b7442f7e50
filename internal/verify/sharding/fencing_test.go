package sharding

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/sharding"
)

// Under load, with lagging routers and lost and repeated topologies, moves by
// mirror, copy, block and commit lose no update, have one writer per key at a
// time, answer no old read, leave nothing behind and disturb nobody else.
func TestMovesAreFenced(t *testing.T) {
	refusals, mirrored, writes := 0, 0, 0
	for seed := range uint64(runs(t, 30)) {
		c := simulate(t, seed, mutant{})
		require.Empty(t, c.violations, "seed %d", seed)
		refusals, mirrored = refusals+c.refusals, mirrored+c.mirrored
		for _, n := range c.committed {
			writes += n
		}
	}
	t.Logf("%d writes, %d refusals, %d mirrored writes", writes, refusals, mirrored)
	assert.Greater(t, refusals, 100, "nothing was ever refused: the test is too tame")
	assert.Greater(t, mirrored, 100, "nothing was ever mirrored: the test is too tame")
}

// Each rule is needed: without it the same checks find a violation.
func TestChecksCatchMutants(t *testing.T) {
	for name, m := range map[string]mutant{
		"no epoch check": {noEpochCheck: true},
		"no mirror rule": {noMirrorRule: true},
		"no fence":       {noFence: true},
	} {
		var found []string
		for seed := uint64(0); seed < 60 && len(found) == 0; seed++ {
			if found = simulate(t, seed, m).violations; len(found) > 0 {
				t.Logf("%s, seed %d: %s", name, seed, found[0])
			}
		}
		assert.NotEmpty(t, found, name)
	}
}

func runs(t *testing.T, n int) int {
	t.Helper()
	if testing.Short() {
		return n / 5
	}
	return n
}

// simulate runs one history in virtual time.
func simulate(t *testing.T, seed uint64, m mutant) (c *cluster) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c = newCluster(t, seed, m)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			// Opened before the first move: a router that opens later takes
			// its first epoch for the age of every key, and shards that have
			// not heard of that epoch make it wait.
			r := c.router()
			c.inflight.Go(func() { c.client(ctx, r, i > 0) })
		}
		c.inflight.Go(func() { _ = c.shards["s0"].router.Follow(ctx) }) // the others learn by routes and fences
		for range 6 {
			time.Sleep(time.Duration(c.intn(int(time.Second))))
			c.move()
		}
		time.Sleep(time.Second)
		cancel()
		c.inflight.Wait()
		c.checkRows()
	})
	return c
}

// move gives a random run of keys to a random shard, phase by phase.
func (c *cluster) move() {
	ctx := context.Background()
	doc, err := c.store.Load(ctx)
	require.NoError(c.t, err)
	m, err := decode(doc.Map)
	require.NoError(c.t, err)
	from := m.(*sharding.Ranges[int])
	at := c.intn(keys - 2)
	to, err := from.Move(sharding.Between(at, at+1+c.intn(2), sharding.ID(fmt.Sprintf("s%d", c.intn(3)))))
	require.NoError(c.t, err)
	plan, err := from.Diff(to)
	require.NoError(c.t, err)
	c.mu.Lock()
	for _, move := range plan {
		for k := *move.Keys.From; k < *move.Keys.To; k++ {
			c.moved[k] = true
		}
	}
	c.mu.Unlock()
	before, after := encode(slices.Collect(from.All())), encode(slices.Collect(to.All()))

	c.enter(sharding.Document{Map: before, Mirror: after})
	c.fence()
	c.expect(plan, func(m sharding.Move[int]) sharding.ID { return m.To })
	c.copy(plan)
	c.enter(sharding.Document{Map: before, Mirror: after, ReadMirror: true})
	c.enter(sharding.Document{Map: before, Mirror: after, ReadMirror: true, Block: true})
	c.fence()
	c.copy(plan)
	c.expect(plan, nobody)
	c.enter(sharding.Document{Map: after, Mirror: before, Block: true})
	c.fence()
	c.expect(plan, func(m sharding.Move[int]) sharding.ID { return m.Keys.Owner })
	c.enter(sharding.Document{Map: after, Mirror: before})
	time.Sleep(time.Duration(c.intn(int(time.Second))))
	c.expect(plan, nobody)
	c.enter(sharding.Document{Map: after})
	c.fence()
	for _, move := range plan {
		for k := *move.Keys.From; k < *move.Keys.To; k++ {
			c.shards[move.Keys.Owner].remove(k)
		}
	}
}

// expect sets where the writes of moving keys must be copied to from now on.
func (c *cluster) expect(plan sharding.Plan[int], mirror func(sharding.Move[int]) sharding.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, move := range plan {
		for k := *move.Keys.From; k < *move.Keys.To; k++ {
			c.mirror[k] = mirror(move)
		}
	}
}

func nobody(sharding.Move[int]) sharding.ID { return "" }

// enter stores the next topology.
func (c *cluster) enter(doc sharding.Document) {
	last, err := c.store.Load(context.Background())
	require.NoError(c.t, err)
	doc.Epoch = last.Epoch + 1
	require.NoError(c.t, c.store.Put(context.Background(), doc))
}

// fence waits until no shard admits or runs a call of an older topology.
func (c *cluster) fence() {
	if c.mutant.noFence {
		return
	}
	doc, err := c.store.Load(context.Background())
	require.NoError(c.t, err)
	for _, id := range []sharding.ID{"s0", "s1", "s2"} {
		require.NoError(c.t, c.shards[id].guard.Fence(context.Background(), doc.Epoch))
	}
}

// copy brings the receivers up to date with the givers.
func (c *cluster) copy(plan sharding.Plan[int]) {
	for _, move := range plan {
		for k := *move.Keys.From; k < *move.Keys.To; k++ {
			writes := c.shards[move.Keys.Owner].get(k)
			c.sleep(20 * time.Millisecond)
			c.shards[move.To].put(k, writes)
		}
	}
}

// checkRows: at rest, every key is at its owner, whole, and nowhere else.
func (c *cluster) checkRows() {
	doc, err := c.store.Load(context.Background())
	require.NoError(c.t, err)
	m, err := decode(doc.Map)
	require.NoError(c.t, err)
	for k := range keys {
		owner, err := m.Owner(k)
		require.NoError(c.t, err)
		for id, s := range c.shards {
			switch r := &s.rows[k]; {
			case id != owner && r.exists:
				c.violate("%s still has key %d of %s", id, k, owner)
			case id == owner && r.writes != c.committed[k]:
				c.violate("%s has %d writes of key %d, %d are committed", id, r.writes, k, c.committed[k])
			}
		}
	}
}
