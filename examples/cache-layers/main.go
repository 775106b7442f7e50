// Command cache-layers looks one product up four times and prints which layer
// answered: the source, the cache in the process (L1), the one that all nodes
// share (L2), and an old copy while the source is out.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

const ttl = time.Second

// Source stands for the database.
type Source struct {
	Out   bool
	Asked int
}

// Name is what a query of the database would be.
func (s *Source) Name(_ context.Context, sku string) (string, error) {
	s.Asked++
	if s.Out {
		return "", errors.New("connection refused")
	}
	return "lamp " + sku, nil
}

// newNode is one instance of a service. L2 is a server in memory here;
// cacheredis.New makes one of Redis, with the same two lines of Config.
func newNode(server *cachetest.Cluster, source *Source) *cache.Cache[string, string] {
	link := server.Node()
	node, err := cache.New(cache.Config[string, string]{
		Load:   source.Name,
		Remote: link,
		Bus:    link,
		Policy: cache.Policy{TTL: ttl, StaleIfError: time.Hour},
	})
	if err != nil {
		panic(err)
	}
	for !node.Stats().Linked { // until then invalidations might be missing, and L1 is not trusted
		time.Sleep(time.Millisecond)
	}
	return node
}

func main() {
	server, source := cachetest.NewCluster(1), &Source{}
	berlin, paris := newNode(server, source), newNode(server, source)
	defer berlin.Close()
	defer paris.Close()

	look := func(where string, node *cache.Cache[string, string]) {
		e, err := node.GetEntry(context.Background(), "P-1")
		if err != nil {
			panic(err)
		}
		age := "within"
		if e.Age > ttl {
			age = "past"
		}
		fmt.Printf("%-6s  %q from %-6s  %-6s its TTL  stale %-5t  the source was asked: %d\n",
			where, e.Value, e.Layer, age, e.Stale, source.Asked)
	}
	look("berlin", berlin)
	look("berlin", berlin)
	look("paris", paris)
	fmt.Println("-- the source goes out, and the TTL passes")
	source.Out = true
	time.Sleep(ttl + 100*time.Millisecond)
	look("paris", paris)
}
