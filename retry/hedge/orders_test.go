package hedge_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

var errFinal = retry.Permanent(errors.New("bad request"))

// endings are the ways in which an attempt ends.
var endings = map[string]script{
	"ok":       {},
	"fails":    {err: errDown},
	"final":    {err: errFinal},
	"pushback": {err: pushback{}},
	"panics":   {leave: panics},
	"exits":    {leave: exits},
}

// T30: every order of {timer, primary, extra, cancel}, also with several of them
// at one instant, with every ending, obedient or not. Do never hangs and leaves
// nothing behind; each success is returned or discarded, once; and where the
// order is clear, the outcome is that of the oracle.
func TestEveryOrderOfOneExtraAttempt(t *testing.T) {
	oracled := 0
	for _, primary := range []time.Duration{0, 60 * ms, 100 * ms, 150 * ms, 300 * ms} {
		for _, extra := range []time.Duration{0, 30 * ms, 50 * ms, 170 * ms} {
			for _, cancelAt := range []time.Duration{0, 40 * ms, 100 * ms, 110 * ms, 150 * ms, 200 * ms} {
				for name, a := range endings {
					for other, b := range endings {
						for stubborn := range 4 {
							a.takes, b.takes = primary, extra
							a.stubborn, b.stubborn = stubborn&1 != 0, stubborn&2 != 0
							oracled += check(t, &hedge.Policy{}, cancelAt, []string{name, other}, a, b)
						}
					}
				}
			}
		}
	}
	assert.True(t, oracled > 4000, "the oracle judged %d", oracled)
}

// T30: the same for two extra attempts, on a coarser grid.
func TestEveryOrderOfTwoExtraAttempts(t *testing.T) {
	oracled := 0
	times := [][3]time.Duration{
		{350, 230, 10}, {350, 10, 10}, {50, 10, 10}, {150, 170, 30}, {150, 70, 250}, {250, 20, 120}, {250, 250, 20}, {200, 100, 0},
	}
	for _, takes := range times {
		for _, cancelAt := range []time.Duration{0, 120 * ms, 200 * ms, 215 * ms} {
			for first, a := range endings {
				for second, b := range endings {
					for third, c := range endings {
						for _, stubborn := range []bool{false, true} {
							a.takes, b.takes, c.takes = takes[0]*ms, takes[1]*ms, takes[2]*ms
							a.stubborn, b.stubborn = stubborn, stubborn
							oracled += check(t, &hedge.Policy{Max: 2}, cancelAt, []string{first, second, third}, a, b, c)
						}
					}
				}
			}
		}
	}
	assert.True(t, oracled > 2000, "the oracle judged %d", oracled)
}

// check plays one order and returns 1 if the oracle had an opinion on it.
func check(t *testing.T, p *hedge.Policy, cancelAt time.Duration, names []string, scripts ...script) int {
	t.Helper()
	r := play(t, p, cancelAt, scripts...)
	what := fmt.Sprintf("%v, cancel at %v: %+v", names, cancelAt, r)
	assert.Equal(t, 0, r.alive, what)
	got := slices.Clone(r.dropped)
	if r.err == nil && r.thrown == nil && !r.exited {
		got = append(got, r.value)
	}
	slices.Sort(got)
	slices.Sort(r.made)
	assert.Equal(t, len(r.made), len(got), what)
	assert.True(t, slices.Equal(r.made, got), what)

	want, sure := oracle(max(p.Max, 1), cancelAt, scripts)
	if !sure {
		return 0
	}
	assert.Equal(t, want.value, r.value, what)
	assert.Equal(t, want.took, r.took, what)
	assert.True(t, slices.Equal(want.started, r.started), what)
	if want.err == nil {
		assert.NoError(t, r.err, what)
	} else {
		assert.ErrorIs(t, r.err, want.err, what)
	}
	return 1
}

// oracle replays an order by hand: one event after the other, the delay being
// 100 ms. It has no opinion on events at the same instant, or on panics.
func oracle(extra int, cancelAt time.Duration, scripts []script) (want replay, sure bool) {
	const never = time.Duration(math.MaxInt64)
	for _, s := range scripts {
		if s.leave != nil {
			return want, false
		}
	}
	if cancelAt == 0 {
		cancelAt = never
	}
	var now, last time.Duration
	timer := 100 * ms
	ends := map[int]time.Duration{}
	start := func() {
		index := len(want.started)
		want.started = append(want.started, now)
		ends[index] = now + scripts[index].takes
		if timer = now + 100*ms; index == extra {
			timer = never
		}
	}
	canceled, decided, index := false, false, 0
	settle := func(err error, value int) {
		decided, want.err, want.value, last = true, err, value, now
		for i, end := range ends {
			if scripts[i].stubborn && i != index {
				last = max(last, end) // Do waits for it
			}
		}
	}
	start()
	for !decided {
		index, now = -1, min(timer, cancelAt)
		for i, end := range ends {
			if end == now || index >= 0 && end == ends[index] {
				return want, false
			}
			if end < now {
				index, now = i, end
			}
		}
		switch {
		case timer == cancelAt && index < 0:
			return want, false
		case index < 0 && now == cancelAt:
			canceled, cancelAt, timer = true, never, never
			for i := range ends {
				if !scripts[i].stubborn {
					delete(ends, i)
				}
			}
		case index < 0:
			start()
			continue
		case scripts[index].err == nil:
			settle(nil, 100+index)
		case canceled:
			delete(ends, index)
		case errors.Is(scripts[index].err, errFinal):
			settle(errFinal, -1-index)
		case scripts[index].err == errDown && len(want.started) <= extra:
			delete(ends, index)
			start()
		default:
			delete(ends, index)
		}
		if len(ends) == 0 && !decided {
			index = -1
			settle(scripts[0].err, -1)
			if canceled {
				want.err = context.Canceled
			}
		}
	}
	want.took = last
	return want, true
}
