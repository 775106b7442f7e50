// Command cache-invalidate keeps two nodes of a service in step: what is written
// on one of them is seen on the other, whose TTL of an hour has hardly begun.
package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

// Node is one instance of a service, with a cache in front of the database.
type Node struct {
	name   string
	prices *cache.Cache[string, int64]
}

// newNode links a node to the server that they share, in memory here; with
// cacheredis.New it is Redis. Without the link each node would be alone.
func newNode(name string, server *cachetest.Cluster, database *atomic.Int64) *Node {
	link := server.Node()
	prices, err := cache.New(cache.Config[string, int64]{
		Load:   func(context.Context, string) (int64, error) { return database.Load(), nil },
		Policy: cache.Policy{TTL: time.Hour},
		Remote: link, Bus: link,
	})
	if err != nil {
		panic(err)
	}
	for !prices.Stats().Linked { // until then messages might be missing, and L1 is not trusted
		time.Sleep(time.Millisecond)
	}
	return &Node{name, prices}
}

func main() {
	var database atomic.Int64
	database.Store(499)
	ctx, server := context.Background(), cachetest.NewCluster(1)
	berlin, paris := newNode("berlin", server, &database), newNode("paris", server, &database)
	defer berlin.prices.Close()
	defer paris.prices.Close()
	show := func(n *Node) {
		e, err := n.prices.GetEntry(ctx, "P-1")
		fmt.Printf("  %-6s %d from layer %-6s %v\n", n.name, e.Value, e.Layer, err)
	}

	fmt.Println("both have the price")
	for _, n := range []*Node{berlin, paris, berlin, paris} {
		show(n)
	}
	fmt.Println("the database changes behind their backs: nobody can know")
	database.Store(549)
	show(paris)

	fmt.Println("berlin invalidates, after its write and before it answers its client")
	if err := berlin.prices.Invalidate(ctx, "P-1"); err != nil {
		panic(err) // ErrPending: done here, and repeated by the cache until the others know
	}
	show(berlin)
	for range 1000 { // the message is on its way to paris, mostly for less than a millisecond
		if _, old := paris.prices.Peek("P-1"); !old {
			break
		}
		time.Sleep(time.Millisecond)
	}
	show(paris)
}
