package users

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/sharding"
)

// shards is how many logs there are.
const shards = 4

// shard is one log with its read model.
type shard struct {
	log    wire.Events
	people *wire.Model[Event, *people]
	tally  tally
}

// store keeps users in several logs, by their id.
type store struct {
	router *sharding.Router[int]
	shards map[sharding.ID]*shard
	ids    *counter
}

func openStore(n *wire.Node) (*store, error) {
	s := &store{shards: map[sharding.ID]*shard{}}
	var config sharding.SlotConfig
	for i := range shards {
		id := sharding.ID("shard-" + strconv.Itoa(i))
		log, err := n.Open(string(id))
		if err != nil {
			return nil, err
		}
		sh := &shard{log: log}
		sh.people = wire.NewModel(n, "users/"+string(id), log, codec, newPeople, (*people).evolve)
		n.Relay("user-events/"+string(id), log, eventsource.Query{{Types: []string{"UserSignedUp"}}}, "user-events")
		n.Relay("email-queue/"+string(id), log, eventsource.Query{{Types: []string{"MailRequested"}}}, "email-queue")
		config.Shards = append(config.Shards, sharding.Shard{ID: id})
		s.shards[id] = sh
		if i == 0 {
			s.ids = &counter{places: log, turn: make(chan struct{}, 1)}
		}
	}
	slots, err := sharding.NewSlots(sharding.Int[int], config)
	if err != nil {
		return nil, err
	}
	s.router, err = sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: slots}, sharding.Config{})
	s.tell(n, slots)
	return s, err
}

// of is the shard of a user.
func (s *store) of(user int) (*shard, error) {
	route, err := s.router.Route(user)
	if err != nil {
		return nil, err
	}
	sh := s.shards[route.Shard]
	sh.tally.add(user)
	return sh, nil
}

// append writes events about a user, all or none, and waits until they can be read.
func (s *store) append(ctx context.Context, user int, events ...Event) error {
	sh, err := s.of(user)
	if err != nil {
		return err
	}
	encoded := make([]eventsource.Event, len(events))
	for i, e := range events {
		if encoded[i], err = codec.Encode(e); err != nil {
			return err
		}
		encoded[i].Stream = streamOf(user)
	}
	result, err := sh.log.Append(ctx, encoded)
	if err != nil {
		return err
	}
	return sh.people.WaitFor(ctx, result.Last)
}

const prefix = "user-"

func streamOf(user int) string { return prefix + strconv.Itoa(user) }

func idOf(stream string) (int, error) { return strconv.Atoi(strings.TrimPrefix(stream, prefix)) }

// user looks one up.
func (s *store) user(id int) (u User, ok bool) {
	if sh, err := s.of(id); err == nil {
		sh.people.View(func(p *people, _ eventsource.Position) { u, ok = p.users[id] })
	}
	return u, ok
}

// page is the users behind after, by id: the first of each shard, merged.
func (s *store) page(after, limit int) []User {
	all := []User{}
	for _, sh := range s.shards {
		sh.people.View(func(p *people, _ eventsource.Position) {
			for id, u := range p.users {
				if id > after {
					all = append(all, u)
				}
			}
		})
	}
	slices.SortFunc(all, func(a, b User) int { return a.ID - b.ID })
	return all[:min(limit, len(all))]
}

// counter gives out ids, each once for ever. It takes them from the log in blocks: what
// is left of a block at the end of the process is never used.
type counter struct {
	places eventsource.Checkpoints
	turn   chan struct{} // a lock that is held over I/O, and given up with ctx

	next, end int
}

const (
	block     = 100
	firstFree = 3 // behind Alice and Bob
	counted   = "ids"
)

func (c *counter) take(ctx context.Context) (int, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	if c.next == c.end {
		if err := c.reserve(ctx); err != nil {
			return 0, fmt.Errorf("ids: %w", err)
		}
	}
	c.next++
	return c.next - 1, nil
}

// reserve makes the next block ours before its first id is given out.
func (c *counter) reserve(ctx context.Context) error {
	for {
		old, err := c.places.LoadCheckpoint(ctx, counted)
		if err != nil {
			return err
		}
		start := max(int(old.Position), firstFree)
		next := eventsource.Checkpoint{Position: eventsource.Position(start + block), Epoch: old.Epoch + 1}
		err = c.places.SaveCheckpoint(ctx, counted, old, next, nil)
		if errors.Is(err, eventsource.ErrFenced) {
			continue // somebody else took this block
		}
		if err == nil {
			c.next, c.end = start, start+block
		}
		return err
	}
}
