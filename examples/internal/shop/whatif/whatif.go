// Package whatif works out what more shards would cost, for each way of placing keys
// that package sharding has. Nothing is moved: for each way there are two maps, of the
// shards that there are and of those that there would be, and the same users are
// looked up in both.
//
// The placement that the shop is on is made from its own config, as any process could
// that reads the topology, and what would move is what Slots.Diff says.
package whatif

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

const (
	// Keys is how many users are looked up, 1 to Keys: enough that chance moves the
	// last digit alone, whereas a young shop has a handful.
	Keys = 100_000
	// MaxShards is the most that can be asked for.
	MaxShards = 16
)

// Report is what growing would move.
type Report struct {
	From    int      `json:"from"` // shards
	To      int      `json:"to"`
	Keys    int      `json:"keys"`
	Ideal   float64  `json:"ideal"` // the share of the keys that new shards must get
	Slots   int      `json:"slots"` // that there are
	Plan    []Flow   `json:"plan"`  // of the shop's own slots
	Routers []Router `json:"routers"`
}

// Flow is what one shard would hand to another.
type Flow struct {
	From  sharding.ID `json:"from"`
	To    sharding.ID `json:"to"`
	Slots int         `json:"slots"`
}

// Router is one way of placing keys, and what it would do.
type Router struct {
	Name    string  `json:"name"`
	By      string  `json:"by"` // what makes it, in package sharding
	Here    bool    `json:"here"`
	Moved   int     `json:"moved"`   // keys
	Fullest float64 `json:"fullest"` // the share that the fullest shard has afterwards; fair is 1/To
}

// placement makes a map of the first from shards, and one of all.
type placement func(ids []sharding.ID, from int) (before, after sharding.Map[int], err error)

// others are the ways that the shop has not taken. Modulo and ranges are those of
// textbooks, ketama is the ring of memcached.
var others = []struct {
	name, by string
	place    placement
}{
	{"md5 modulo", "Buckets(Mod(compat.MD5Hex(id), n))", buckets(func(user, n int) int {
		return sharding.Mod(compat.MD5Hex(strconv.Itoa(user)), n)
	})},
	{"JumpBack hash", "Buckets(JumpBack(Int(id), n))", buckets(func(user, n int) int {
		return sharding.JumpBack(sharding.Int(user), n)
	})},
	{"ring, ketama", "Buckets(compat.Ketama.Bucket)", ring},
	{"ranges, the fullest split", "Ranges.Split", split},
	{"ranges, cut anew", "NewRanges", cutAnew},
}

// Grow compares the placement of present, and what else there is, with the same on n
// shards. It takes some 50 ms of a core.
func Grow(present sharding.SlotConfig, n int) (Report, error) {
	from := len(present.Shards)
	if from == 0 || n <= from || n > MaxShards {
		return Report{}, fmt.Errorf("n: there are %d shards; want more, and %d at most", from, MaxShards)
	}
	next := present
	next.Shards = slices.Clone(present.Shards)
	for i := from; len(next.Shards) < n; i++ {
		id := sharding.ID("shard-" + strconv.Itoa(i))
		if !slices.ContainsFunc(present.Shards, func(s sharding.Shard) bool { return s.ID == id }) {
			next.Shards = append(next.Shards, sharding.Shard{ID: id})
		}
	}
	out := Report{From: from, To: n, Keys: Keys, Ideal: float64(n-from) / float64(n)}
	if err := out.slots(present, next); err != nil {
		return Report{}, err
	}
	ids := make([]sharding.ID, n)
	for i, s := range next.Shards {
		ids[i] = s.ID
	}
	for _, o := range others {
		before, after, err := o.place(ids, from)
		if err != nil {
			return Report{}, fmt.Errorf("%s: %w", o.name, err)
		}
		if err := out.add(Router{Name: o.name, By: o.by}, before, after); err != nil {
			return Report{}, err
		}
	}
	return out, nil
}

// slots compares the shop's own placement with the next.
func (r *Report) slots(present, next sharding.SlotConfig) error {
	before, err := sharding.NewSlots(sharding.Int[int], present)
	if err != nil {
		return err
	}
	after, err := sharding.NewSlots(sharding.Int[int], next)
	if err != nil {
		return err
	}
	plan, err := before.Diff(after)
	if err != nil {
		return err
	}
	r.Plan = sum(plan)
	for range before.All() {
		r.Slots++
	}
	return r.add(Router{Name: "slots", By: "NewSlots(Int, config)", Here: true}, before, after)
}

// sum adds up the moves of a plan by giver and receiver.
func sum(plan sharding.Plan[int]) []Flow {
	slots := map[Flow]int{}
	for _, m := range plan {
		slots[Flow{From: m.Keys.Owner, To: m.To}]++
	}
	flows := []Flow{}
	for f, n := range slots {
		flows = append(flows, Flow{f.From, f.To, n})
	}
	slices.SortFunc(flows, func(a, b Flow) int { return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.From, b.From)) })
	return flows
}

// add looks every key up in both maps.
func (r *Report) add(router Router, before, after sharding.Map[int]) error {
	held := map[sharding.ID]int{}
	for user := 1; user <= Keys; user++ {
		from, err := before.Owner(user)
		if err != nil {
			return err
		}
		to, err := after.Owner(user)
		if err != nil {
			return err
		}
		held[to]++
		if from != to {
			router.Moved++
		}
	}
	for _, n := range held {
		router.Fullest = max(router.Fullest, float64(n)/Keys)
	}
	r.Routers = append(r.Routers, router)
	return nil
}

// buckets places by a function to a number.
func buckets(bucket func(user, n int) int) placement {
	return func(ids []sharding.ID, from int) (before, after sharding.Map[int], err error) {
		of := func(n int) (sharding.Map[int], error) {
			return sharding.Buckets(func(user int) int { return bucket(user, n) }, ids[:n]...)
		}
		return both(of, from, len(ids))
	}
}

// ring places by ketama, whose points depend on the servers' addresses.
func ring(ids []sharding.ID, from int) (before, after sharding.Map[int], err error) {
	of := func(n int) (sharding.Map[int], error) {
		var servers []sharding.Shard
		for _, id := range ids[:n] {
			servers = append(servers, sharding.Shard{ID: id + ":11211"})
		}
		k, err := compat.NewKetama(servers...)
		if err != nil {
			return nil, err
		}
		return sharding.Buckets(func(user int) int { return k.Bucket(strconv.Itoa(user)) }, ids[:n]...)
	}
	return both(of, from, len(ids))
}

// cutAnew has ranges of one size, before and after: the bounds of all move.
func cutAnew(ids []sharding.ID, from int) (before, after sharding.Map[int], err error) {
	return both(func(n int) (sharding.Map[int], error) { return even(ids[:n]) }, from, len(ids))
}

// split cuts the widest range in two until there are enough: little moves, and the
// shards are of different sizes.
func split(ids []sharding.ID, from int) (before, after sharding.Map[int], err error) {
	ranges, err := even(ids[:from])
	if err != nil {
		return nil, nil, err
	}
	grown := ranges
	for _, id := range ids[from:] {
		var at, width int
		for r := range grown.All() {
			if w := *r.To - *r.From; w > width {
				at, width = *r.From+w/2, w
			}
		}
		if grown, err = grown.Split(at, id); err != nil {
			return nil, nil, err
		}
	}
	return ranges, grown, nil
}

func even(ids []sharding.ID) (*sharding.Ranges[int], error) {
	var ranges []sharding.Range[int]
	for i, id := range ids {
		ranges = append(ranges, sharding.Between(1+Keys*i/len(ids), 1+Keys*(i+1)/len(ids), id))
	}
	return sharding.NewRanges(ranges...)
}

func both(of func(n int) (sharding.Map[int], error), from, to int) (before, after sharding.Map[int], err error) {
	if before, err = of(from); err == nil {
		after, err = of(to)
	}
	return before, after, err
}
