package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestScanLeavesWhatIsRead(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxEntries: 100})
	for k := range 90 {
		putIn(tab, k, k, 0)
	}
	for i := range 20000 {
		k := i % 90
		if _, ok := valueOf(tab, k); !ok {
			putIn(tab, k, k, 0)
		}
		if i%2 == 0 {
			putIn(tab, 1000+i, i, 0) // never read
		}
	}
	kept := 0
	for k := range 90 {
		if tab.peek(k) != nil {
			kept++
		}
	}
	assert.True(t, kept > 80, "%d of 90 are left", kept)
}

// Inserts find what has expired, and count it as such, long before it would be in
// the way.
func TestInsertsSweepTheExpired(t *testing.T) {
	now, looks := int64(0), 0
	tab := newTable(tableConfig[int, int]{
		maxEntries: 10000,
		shards:     1,
		now:        func() int64 { looks++; return now },
		dead:       func(b *box[int], now int64) bool { return b.soon <= now },
	})
	var out removed[int, int]
	for k := range 4000 {
		putBox(tab, k, &box[int]{soon: 100}, 0, &out)
	}
	now = 99
	for k := range 100 {
		putBox(tab, 5000+k, &box[int]{soon: 1000}, 0, &out)
	}
	require.Equal(t, int64(4100), tab.len())
	now = 100
	for k := range 4000 {
		putBox(tab, 6000+k, &box[int]{soon: 1000}, 0, &out)
	}
	left := int64(0) // in the window, where nobody looks until its end
	for k := range 4000 {
		if tab.peek(k) != nil {
			left++
		}
	}
	assert.True(t, left == 0 && tab.gone(expired) == 4000, "%d left, %d expired", left, tab.gone(expired))
	assert.True(t, looks < 1000, "the clock was read %d times", looks)
	require.NoError(t, walk(tab))
}

// A deadline that comes in with an update, out of the window or by a move within
// main is noted. Deadlines are few, so that each of them is the only one at times.
func TestSweepKnowsEveryDeadline(t *testing.T) {
	for _, c := range []struct {
		size  int
		share float64
	}{{100, startShare}, {100, mostShare}, {1000, startShare}, {300, mostShare}} {
		now := int64(0)
		tab := newTable(tableConfig[int, int]{
			maxEntries: c.size,
			now:        func() int64 { return now },
			dead:       func(b *box[int], now int64) bool { return b.soon <= now },
		})
		tab.shards[0].climber.share = c.share
		random := rand.New(rand.NewPCG(1, 2))
		var out removed[int, int]
		s, checked := &tab.shards[0], 0
		for range 50000 {
			k, soon := random.IntN(400), int64(never)
			if random.IntN(50) == 0 {
				soon = now + random.Int64N(1000)
			}
			if random.IntN(4) == 0 {
				tab.find(k, tab.hash(k))
			}
			putBox(tab, k, &box[int]{soon: soon}, 0, &out)
			if random.IntN(3) == 0 {
				dropFrom(tab, random.IntN(400), &out)
			}
			now += random.Int64N(2)
			for i := range s.main.n {
				soon := s.main.at[i].box.Load().soon
				if soon >= never {
					continue
				}
				checked++
				known := s.broom.due
				if i < s.broom.at {
					known = min(known, s.broom.next)
				}
				require.True(t, known <= soon, "cell %d of %d expires at %d, the broom at %d knows of %d", i, s.main.n, soon, s.broom.at, known)
			}
		}
		assert.True(t, checked > 1000 && tab.gone(expired) > 10, "%d checked, %d expired", checked, tab.gone(expired))
	}
}

// A read-mostly table whose entries were all read must not look at all of them to
// find one to evict, while the mutex is held, and readers must not keep the hand
// turning by reading on.
func TestVictimIsFoundInBoundedTime(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxEntries: 50000, shards: 1})
	for k := range 50000 {
		putIn(tab, k, k, 0)
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				for k := range 50000 {
					tab.find(k, tab.hash(k))
				}
			}
		})
	}
	for range 3 {
		for k := range 50000 {
			tab.find(k, tab.hash(k))
		}
		before := tab.shards[0].hand
		putIn(tab, rand.Int(), 0, 0)
		after := tab.shards[0].hand
		assert.True(t, (after-before+50000)%50000 <= handSteps+1, "the hand went from %d to %d", before, after)
	}
	done.Store(true)
	readers.Wait()
}

// Whoever makes the counters of a new key collide with those of a popular victim
// would keep it out for ever: a warm loser wins now and then, a cold one never.
func TestWarmLoserIsPardonedNowAndThen(t *testing.T) {
	for _, c := range []struct {
		seen   uint64
		pardon bool
	}{{warm, true}, {warm - 1, false}} {
		draws := uint64(0)
		tab := newTable(tableConfig[int, int]{maxEntries: 64, draw: func() uint64 { draws++; return draws }})
		for k := range 100 {
			putIn(tab, k, k, 0)
		}
		s := &tab.shards[0]
		won := 0
		for range 10 * pardon {
			candidate, victim := stray(5001), stray(5002)
			s.sketch.halve()
			s.sketch = newSketch(64)
			s.sketch.add(candidate.hash, c.seen)
			s.sketch.add(victim.hash, maxEstimate)
			if s.beats(candidate, victim) {
				won++
			}
		}
		want := 0
		if c.pardon {
			want = 10
		}
		assert.Equal(t, want, won, "seen %d times", c.seen)
	}
}

func TestClimberFollowsHits(t *testing.T) {
	c := newClimber()
	sample := func(hits int) {
		c.hits = hits
		for range minSample {
			c.missed(10)
		}
	}
	sample(1000)
	require.Equal(t, startShare, c.share, "one sample says nothing")
	sample(1100)
	require.True(t, c.share > startShare, "up first")
	up := c.share
	sample(1200)
	require.True(t, c.share > up, "further while it helps")
	up = c.share
	sample(1100)
	require.True(t, c.share < up, "back if it does not")
	for i := range 300 {
		sample(1000 + i)
		require.True(t, c.share >= 0 && c.share <= mostShare, "share %v", c.share)
	}
	share := c.share
	for range minSample - 1 {
		c.missed(10)
	}
	require.Equal(t, share, c.share, "not within a sample")
	require.True(t, c.step < 0.01 && c.step > -0.01, "steps get smaller")
	sample(100000)
	require.True(t, c.step > 0.05 || c.step < -0.05, "and large again when the load changes")
}

// When the climber moves the border, the queues follow, a little per insert.
func TestQueuesFollowTheBorder(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxEntries: 1000})
	s, key := &tab.shards[0], 0
	insert := func(n int) {
		for range n {
			key++
			putIn(tab, key, key, 0)
		}
	}
	insert(2000)
	require.Equal(t, 50, s.window.n)
	for _, c := range []struct {
		share  float64
		window int
	}{{mostShare, 800}, {0.1, 100}, {0, 1}, {0.5, 500}} {
		s.climber = climber{share: c.share, ratio: -1}
		insert(20)
		require.NoError(t, walk(tab))
		insert(1500)
		require.Equal(t, c.window, s.window.n)
		require.Equal(t, int64(1000), tab.len())
		require.NoError(t, walk(tab))
	}
}

func TestSketchNeverUnderestimates(t *testing.T) {
	s := newSketch(1000)
	random := rand.New(rand.NewPCG(3, 4))
	hashes, truth := make([]uint64, 500), map[uint64]uint64{}
	for i := range hashes {
		hashes[i] = random.Uint64()
	}
	for range 3000 {
		h := hashes[int(random.ExpFloat64()*60)%500]
		n := random.Uint64N(4)
		s.add(h, n)
		truth[h] += n
	}
	exact := 0
	for _, h := range hashes {
		want := min(truth[h], maxEstimate)
		require.True(t, s.estimate(h) >= want, "estimate %d of %d", s.estimate(h), want)
		if s.estimate(h) == want {
			exact++
		}
	}
	assert.True(t, exact > 450, "%d of 500 are exact", exact)
	before := s.estimate(hashes[0])
	s.halve()
	require.Equal(t, before/2, s.estimate(hashes[0]))
}

func TestSketchForgets(t *testing.T) {
	s := newSketch(100)
	s.add(1, maxEstimate)
	for i := range 100 * 10 * 5 {
		s.add(uint64(i)*0x9e3779b97f4a7c15, 1)
	}
	assert.True(t, s.adds < s.limit)
	all := uint64(0)
	for i := range 1000 {
		all += s.estimate(uint64(i+1e6) * 0x9e3779b97f4a7c15)
	}
	assert.True(t, all < 1000*maxEstimate/2, "the counters are full: %d", all)
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exact := newClock(0)
		coarse := newClock(time.Millisecond)
		time.Sleep(2500 * time.Microsecond)
		synctest.Wait()
		assert.Equal(t, int64(2500*time.Microsecond), exact.now())
		assert.Equal(t, int64(2*time.Millisecond), coarse.now())
		exact.close()
		coarse.close() // else the bubble never ends
		time.Sleep(time.Second)
		assert.Equal(t, int64(2*time.Millisecond), coarse.now())
	})
}
