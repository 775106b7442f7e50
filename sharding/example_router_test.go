package sharding_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/sharding"
)

// decodeUsers makes a map of what the store holds: the JSON of a SlotConfig.
func decodeUsers(doc []byte) (sharding.Map[string], error) {
	var cfg sharding.SlotConfig
	if err := json.Unmarshal(doc, &cfg); err != nil {
		return nil, err
	}
	return sharding.NewSlots(sharding.String, cfg)
}

// Processes learn of a change by following a store.
func ExampleOpen() {
	ctx, cancel := context.WithCancel(context.Background())
	store := new(sharding.Memory) // in production one on Redis or SQL
	put := func(epoch uint64, cfg string) {
		if err := store.Put(ctx, sharding.Document{Epoch: epoch, Map: json.RawMessage(cfg)}); err != nil {
			panic(err)
		}
	}
	put(1, `{"shards": [{"id": "db-0"}]}`)

	installed := make(chan sharding.Event)
	router, err := sharding.Open(ctx, store, decodeUsers, sharding.Config{OnEvent: func(e sharding.Event) { installed <- e }})
	if err != nil {
		panic(err)
	}
	followed := make(chan error)
	go func() { followed <- router.Follow(ctx) }()

	put(2, `{"shards": [{"id": "db-0"}, {"id": "db-1"}]}`)
	e := <-installed
	fmt.Printf("epoch %d, %.0f %% moved\n", e.Epoch, 100*e.Moved)
	rt, err := router.Route("user:1")
	fmt.Println(rt.Shard, rt.Epoch, err)
	cancel()
	fmt.Println(<-followed)
	// Output:
	// epoch 2, 50 % moved
	// db-0 2 <nil>
	// context canceled
}

// A shard that has given the key away says where it went, and Do goes there.
func ExampleDo() {
	place := func(owner sharding.ID) sharding.Map[int] {
		m, err := sharding.NewRanges(sharding.Range[int]{Owner: owner})
		if err != nil {
			panic(err)
		}
		return m
	}
	router, _ := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: place("old")}, sharding.Config{})
	name, err := sharding.Do(context.Background(), router, 42, func(_ context.Context, rt sharding.Route) (string, error) {
		fmt.Println("asking", rt.Shard)
		if rt.Shard == "old" {
			return "", &sharding.MovedError{To: "new", Epoch: 2}
		}
		return "Ada", nil
	})
	fmt.Println(name, err)
	// Output:
	// asking old
	// asking new
	// Ada <nil>
}

// The shard's own side: it admits a write only if the sender knows the last
// change of that part of the keys.
func ExampleGuard() {
	before, _ := sharding.NewRanges(sharding.Between(0, 100, "a"))
	after, _ := before.Split(50, "b")
	client, _ := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: before}, sharding.Config{})
	server, _ := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: before}, sharding.Config{})
	_ = server.Install(sharding.Topology[int]{Epoch: 2, Map: after})
	guard := server.Guard("a")
	for _, key := range []int{10, 60} {
		rt, _ := client.Route(key)
		header, _ := rt.MarshalText() // travels with the request
		var got sharding.Route
		if err := got.UnmarshalText(header); err != nil {
			panic(err)
		}
		err := guard.Write(context.Background(), key, got, func(context.Context) error {
			fmt.Printf("key %d is written\n", key)
			return nil
		})
		if moved, ok := errors.AsType[*sharding.MovedError](err); ok {
			fmt.Printf("key %d: go to %s, as of epoch %d\n", key, moved.To, moved.Epoch)
		}
	}
	// Output:
	// key 10 is written
	// key 60: go to b, as of epoch 2
}

func ExampleRouter_Explain() {
	users, _ := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "db-0"}, {ID: "db-1"}}})
	vip, _ := sharding.Pin(map[string]sharding.ID{"user:1": "db-0"}, users)
	router, _ := sharding.NewRouter(sharding.Topology[string]{Epoch: 7, Map: vip}, sharding.Config{})
	fmt.Print(router.Explain("user:1"))
	fmt.Print(router.Explain("user:2"))
	// Output:
	// key "user:1" at epoch 7
	// the key is pinned
	// owner 1 is db-0
	// route to db-0 since epoch 7
	// key "user:2" at epoch 7
	// the key is not pinned
	// hash 337be5a0c611350a, slot 3377 of 16384
	// owner 1 is db-1
	// route to db-1 since epoch 7
}
