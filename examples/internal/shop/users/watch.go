package users

import (
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/sharding"
)

// standing is how the users are spread over the shards. With the config anybody can
// make the placement anew, and see what another shard would change.
type standing struct {
	sharding.Stats
	Users  int                       `json:"keys"`
	Config sharding.SlotConfig       `json:"config"`
	Each   map[sharding.ID]shardView `json:"each"`
}

// shardView is one shard: its part of the slots, its users, and what it is asked for.
type shardView struct {
	Slots    int     `json:"slots"`
	Users    int     `json:"users"`
	Asked    uint64  `json:"asked"`    // look-ups and writes since the start
	Hot      int     `json:"hot"`      // the user it is asked for most; 0 is nobody
	HotShare float64 `json:"hotShare"` // of what it was asked for lately
}

// tell adds how the shards stand to the figures of the service. The topology is the one
// that the service has started with, as long as it runs.
func (s *store) tell(n *wire.Node, slots *sharding.Slots[int]) {
	of := map[sharding.ID]int{}
	for _, id := range slots.All() {
		of[id]++
	}
	config := slots.Config()
	n.Section("shards", func() any {
		out := standing{Stats: s.router.Stats(), Config: config, Each: map[sharding.ID]shardView{}}
		for id, sh := range s.shards {
			view := sh.tally.view()
			view.Slots = of[id]
			sh.people.View(func(p *people, _ eventsource.Position) { view.Users = len(p.users) })
			out.Each[id] = view
			out.Users += view.Users
		}
		return out
	})
}

const (
	watched   = 16   // users of a shard that are counted at a time
	coolAfter = 1024 // calls, after which the counts are halved
)

// tally counts what a shard is asked for, and finds the user that it is asked for most,
// by the space-saving sketch (Metwally, Agrawal and El Abbadi 2005): whoever has more
// than a sixteenth of the calls is in it, however many users there are. Counts are
// halved now and then, so that who was hot an hour ago is not hot for ever.
type tally struct {
	mu     sync.Mutex
	asked  uint64
	recent uint64 // calls that the counts are of
	counts [watched]count
}

type count struct {
	user  int
	calls uint64
	over  uint64 // of calls, how many may have been those of others who had this place
}

// add counts a call about a user.
func (t *tally) add(user int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if t.recent++; t.recent >= coolAfter {
		t.cool()
	}
	least := &t.counts[0]
	for i := range t.counts {
		c := &t.counts[i]
		if c.user == user {
			c.calls++
			return
		}
		if c.calls < least.calls {
			least = c
		}
	}
	*least = count{user, least.calls + 1, least.calls}
}

// cool halves the counts; the caller holds mu.
func (t *tally) cool() {
	t.recent /= 2
	for i := range t.counts {
		t.counts[i].calls /= 2
		t.counts[i].over /= 2
	}
}

// view is what the tally has seen. The hottest user is the one with the most calls
// that were certainly his.
func (t *tally) view() shardView {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := shardView{Asked: t.asked}
	most := uint64(0)
	for _, c := range t.counts {
		if sure := c.calls - c.over; sure > most {
			most, v.Hot = sure, c.user
		}
	}
	if t.recent > 0 {
		v.HotShare = float64(most) / float64(t.recent)
	}
	return v
}
