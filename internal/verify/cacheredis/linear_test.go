package cacheredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/stretchr/testify/require"
)

type operation struct {
	key   int
	write bool
	over  bool // the end of a write, otherwise its beginning
}

// seen are what a read may return: the value of the last write that is over, and
// of one that is not.
type seen struct{ last, next int64 }

// register is the source as the node that writes it sees it through the cache. A
// write changes the source and then invalidates the key; until that is acknowledged
// a read may find either value, even the old one after the new one, for a load that
// was fenced still delivers to those who waited for it. Afterwards the old one is
// gone.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[int][]porcupine.Operation)
		for _, op := range history {
			key := op.Input.(operation).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return seen{} },
	Step: func(state, input, output any) (bool, any) {
		v, out := state.(seen), output.(int64)
		switch in := input.(operation); {
		case in.over:
			return true, seen{out, out}
		case in.write:
			return true, seen{v.last, out}
		}
		return out == v.last || out == v.next, v
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %v", input, output) },
}

// ends makes two operations of each write: it begins at its call and is over at
// its return.
func ends(history []porcupine.Operation) (all []porcupine.Operation) {
	for _, op := range history {
		op.Call, op.Return = 2*op.Call, 2*op.Return
		if in := op.Input.(operation); in.write {
			begun := op
			begun.Return = op.Call + 1
			all = append(all, begun)
			in.over = true
			op.Input, op.Call = in, op.Return-1
		}
		all = append(all, op)
	}
	return all
}

// S1 per node: three nodes, each writes two keys of its own and reads all. On the
// node that writes a key, its history has to be linearizable, whatever the others
// put into the Remote meanwhile. One load in ten fails, one in four takes a while.
func TestAcknowledgedWritesAreReadOnTheirNode(t *testing.T) {
	server := engine.Redis(t)
	begun, rounds := time.Now(), 0
	for limit := seconds(t, 0); rounds == 0 || time.Since(begun) < limit; rounds++ {
		// A subtest closes what a round has opened.
		if !t.Run(strconv.Itoa(rounds), func(t *testing.T) { linearRound(t, server.Addr(), fmt.Sprintf("linear-%d", rounds)) }) {
			break
		}
	}
	t.Logf("%d rounds", rounds)
}

var errNoLuck = errors.New("no luck")

func linearRound(t *testing.T, addr, name string) {
	const nodes, keysEach = 3, 2
	s := newSource(nodes * keysEach)
	load := func(ctx context.Context, key int) (string, error) {
		v, err := s.load(ctx, key)
		switch {
		case rand.IntN(10) == 0:
			return "", errNoLuck
		case rand.IntN(4) == 0:
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
		return v, err
	}
	var histories [nodes][]porcupine.Operation
	var caches [nodes]*cache.Cache[int, string]
	var group sync.WaitGroup
	for i := range nodes {
		n := node(t, clientOf(t, addr), name, cache.Config[int, string]{MaxEntries: 4, Load: load})
		healed(t, n)
		caches[i] = n
		group.Go(func() { histories[i] = record(t, n, s, i, keysEach) })
	}
	group.Wait()
	for i, history := range histories {
		if got := porcupine.CheckOperationsTimeout(register, ends(history), time.Minute); got != porcupine.Ok {
			for _, op := range history {
				t.Logf("%d..%d %d: %s", op.Call, op.Return, op.ClientId, register.DescribeOperation(op.Input, op.Output))
			}
			require.Equal(t, porcupine.Ok, got, "node %d: %+v", i, caches[i].Stats())
		}
	}
}

// record lets 8 goroutines do 200 operations each and returns those on the keys
// that the node writes.
func record(t *testing.T, n *cache.Cache[int, string], s *source, node, keysEach int) (history []porcupine.Operation) {
	begun := time.Now()
	var mu sync.Mutex
	var writing [16]sync.Mutex // the source takes one write at a time
	var group sync.WaitGroup
	for client := range 8 {
		group.Go(func() {
			for range 200 {
				in := operation{key: node*keysEach + rand.IntN(keysEach), write: rand.IntN(5) == 0}
				if rand.IntN(4) == 0 {
					_, _ = n.Get(t.Context(), rand.IntN(len(s.values)))
					continue
				}
				out, err := int64(0), error(nil)
				call, end := time.Now(), time.Time{}
				if in.write {
					writing[in.key].Lock()
					call = time.Now()
					out = s.values[in.key].Add(1)
					err = n.Invalidate(t.Context(), in.key)
					end = time.Now()
					writing[in.key].Unlock()
				} else {
					var text string
					if text, err = n.Get(t.Context(), in.key); err == nil {
						out, err = strconv.ParseInt(text, 10, 64)
					}
					end = time.Now()
				}
				if err != nil && !in.write {
					continue // a load that failed has told nothing
				}
				if err != nil && !errors.Is(err, cache.ErrPending) { // which is done on this node
					t.Errorf("Invalidate: %v", err)
				}
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: in, Output: out, Call: int64(call.Sub(begun)), Return: int64(end.Sub(begun)), // no wall clock
				})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return history
}
