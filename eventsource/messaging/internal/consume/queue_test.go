package consume

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A queue is driven at random beside a reference that keeps everything in one
// slice: per key one item out at a time, in the order of Push, nothing lost.
func TestQueueAgreesWithASlice(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			q := NewQueue[int]()
			var (
				pushed  []int // not settled, in order of Push
				keyOf   = map[int]string{}
				out     = map[int]*Item[int]{}
				waiting = map[int]bool{} // delayed
				next    int
			)
			for range 300 {
				switch rnd.IntN(6) {
				case 0, 1:
					next++
					key := []string{"", "a", "b", "c"}[rnd.IntN(4)]
					keyOf[next] = key
					pushed = append(pushed, next)
					q.Push(next, key, 0)
				case 2, 3:
					it := q.take()
					// What the reference allows: no key, or the first of its key.
					var allowed []int
					seen := map[string]bool{}
					for _, v := range pushed {
						key := keyOf[v]
						if out[v] == nil && !waiting[v] && (key == "" || !seen[key]) {
							allowed = append(allowed, v)
						}
						seen[key] = true
					}
					if it == nil {
						require.Equal(t, 0, len(allowed), fmt.Sprint("seed ", seed, ": nothing handed out of ", allowed))
						continue
					}
					require.True(t, slices.Contains(allowed, it.Value), fmt.Sprint("seed ", seed, ": ", it.Value, " is not in ", allowed))
					out[it.Value] = it
				case 4:
					for v, it := range out {
						delete(out, v)
						switch rnd.IntN(3) {
						case 0:
							q.settle(it, rnd.IntN(2) == 0)
							pushed = slices.DeleteFunc(pushed, func(p int) bool { return p == v })
						case 1:
							q.release(it, true)
						default:
							q.again(it, time.Minute)
							waiting[v] = true
						}
						break
					}
				default:
					if rnd.IntN(10) == 0 {
						time.Sleep(2 * time.Minute)
						synctest.Wait()
						clear(waiting)
					}
				}
				load := q.Load()
				require.Equal(t, Load{Ready: len(pushed) - len(out) - len(waiting), Running: len(out), Delayed: len(waiting)}, load)
				require.Equal(t, len(pushed), q.Len())
			}
			q.Close()
			assert.Equal(t, len(out), q.Len(), "only what runs is left")
		})
	}
}

func TestDequeIsFIFOWithAFront(t *testing.T) {
	var d deque[int]
	var want []int
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 10000 {
		switch {
		case rnd.IntN(5) < 2:
			d.pushBack(i)
			want = append(want, i)
		case rnd.IntN(4) == 0:
			d.pushFront(i)
			want = append([]int{i}, want...)
		case len(want) > 0:
			require.Equal(t, want[0], d.popFront())
			want = want[1:]
		}
		require.Equal(t, len(want), d.len())
	}
}

func TestSettledItemsLeaveNothingBehind(t *testing.T) {
	q := NewQueue[*int]()
	for i := range 1000 {
		q.Push(&i, fmt.Sprint("key-", i%10), 0)
	}
	for it := q.take(); it != nil; it = q.take() {
		q.settle(it, false)
	}
	assert.Equal(t, 0, len(q.lanes))
	for _, kept := range q.ready.ring {
		assert.True(t, kept == nil, "the ring keeps a settled item")
	}
	assert.Equal(t, Counts{Acked: 1000}, q.Counts())
}

func TestDropForgetsWhatDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[int]()
		for v, key := range []string{"a", "a", "b", "a", "", "b", "c"} {
			q.Push(v, key, 0)
		}
		running, waits := q.take(), q.take() // 0 of a, 2 of b
		q.again(waits, time.Minute)
		q.Drop(func(v int) bool { return v != 3 && v != 5 })
		assert.Equal(t, Load{Ready: 2, Running: 1}, q.Load())
		assert.Equal(t, 5, q.take().Value, "b is free, since the one in front was dropped")
		assert.True(t, q.take() == nil, "a still runs")
		q.settle(running, false)
		assert.Equal(t, 3, q.take().Value)
		time.Sleep(time.Hour)
		assert.Equal(t, 2, q.Len(), "no timer brings one back")
	})
}

func TestBackoffDoublesToItsCap(t *testing.T) {
	for attempt := 1; attempt < 100; attempt++ {
		most := 30 * time.Second
		if attempt < 10 {
			most = min(most, 100*time.Millisecond<<(attempt-1))
		}
		lowest, highest := most, time.Duration(0)
		for range 200 {
			d := Backoff(attempt)
			lowest, highest = min(lowest, d), max(highest, d)
		}
		assert.True(t, lowest >= most/2 && highest <= most, fmt.Sprint(attempt, lowest, highest))
		assert.True(t, highest-lowest > most/4, fmt.Sprint("no jitter at ", attempt))
	}
}

func TestDeadHeadersCutTheErrorBetweenCharacters(t *testing.T) {
	for pad := range 4 {
		var text strings.Builder
		text.WriteString(fmt.Sprintf("%*s", pad, ""))
		for range 600 {
			text.WriteString("€")
		}
		got := DeadHeaders(map[string]string{"own": "1", HeaderTopic: "forged"}, "t", "g", 3, errors.New(text.String()))
		cut := got[HeaderError]
		assert.True(t, len(cut) <= maxError && len(cut) > maxError-3, fmt.Sprint(len(cut)))
		assert.Equal(t, text.String()[:len(cut)], cut)
		assert.Equal(t, "t g 3 1", got[HeaderTopic]+" "+got[HeaderGroup]+" "+got[HeaderAttempts]+" "+got["own"])
	}
}

func FuzzCheckMessage(f *testing.F) {
	f.Add("id", "topic", "key", "name", "value")
	f.Fuzz(func(t *testing.T, id, topic, key, name, value string) {
		err := CheckMessage(id, topic, key, map[string]string{name: value}, nil)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		for _, text := range []string{id, topic, key, name, value} {
			require.True(t, !slices.Contains([]byte(text), 0))
		}
		require.True(t, name != "" && topic != "" && len(topic) <= maxName)
	})
}
