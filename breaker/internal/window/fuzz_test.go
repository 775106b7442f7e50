package window

import (
	"math/rand/v2"
	"testing"

	"github.com/keelson-go/keelson/internal/require"
)

// list is the reference: all calls, and a slow walk over them.
type list []listed

type listed struct {
	at           int64
	failed, slow bool
}

func (l list) count(keep func(i int, c listed) bool) (s Counts) {
	for i, c := range l {
		if !keep(i, c) {
			continue
		}
		s.Calls++
		if c.failed {
			s.Failures++
		}
		if c.slow {
			s.Slow++
		}
	}
	return s
}

func (l list) inTime(now int64) Counts {
	return l.count(func(_ int, c listed) bool { return now/width-c.at/width < buckets })
}

func (l list) last(n int) Counts {
	return l.count(func(i int, _ listed) bool { return i >= len(l)-n })
}

// Both windows agree with the list after every step of random histories.
func FuzzWindowsAgainstAList(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint16(seed*7+1))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint16) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := max(1, int(size)%300)
		var all list
		byTime, byCount := newTime(), NewCount(n)
		now := int64(0)
		for range 500 {
			now += steps[r.IntN(len(steps))]
			c := listed{now, r.IntN(3) == 0, r.IntN(4) == 0}
			all = append(all, c)
			require.True(t, byTime.Add(c.at, c.failed, c.slow))
			require.True(t, byCount.Add(c.at, c.failed, c.slow))
			now += steps[r.IntN(len(steps))]
			require.Equal(t, all.inTime(now), byTime.Read(now))
			require.Equal(t, all.last(n), byCount.Read(now))
		}
		require.Equal(t, byTime.Totals(), byCount.Totals())
	})
}

// steps lead to the edges of buckets and of the window.
var steps = []int64{0, 0, 0, 1, width - 1, width, width + 1, 9 * width, 10*width - 1, 10 * width, 10*width + 1, 1000 * width}
