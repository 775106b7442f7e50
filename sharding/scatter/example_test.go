package scatter_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/scatter"
)

// A count over all shards; one of them is down.
func ExampleDo() {
	orders := map[sharding.ID]int{"db-0": 120, "db-1": 80}
	results, err := scatter.Do(context.Background(), []sharding.ID{"db-0", "db-1", "db-2"}, scatter.Config{Timeout: time.Second},
		func(_ context.Context, id sharding.ID) (int, error) {
			n, ok := orders[id]
			if !ok {
				return 0, errors.New("connection refused")
			}
			return n, nil
		})
	total := 0
	for _, r := range results {
		total += r.Value
	}
	fmt.Println(total, err)
	// Output:
	// 200 scatter: 1 of 3 shards failed; db-2: connection refused
}

// Many keys at once: one query per shard, values in the order of the keys.
func ExampleGet() {
	users, _ := sharding.NewRanges(sharding.Between(0, 100, "db-0"), sharding.Between(100, 200, "db-1"))
	router, _ := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: users}, sharding.Config{})
	names, err := scatter.Get(context.Background(), router, []int{150, 7, 101, 8}, scatter.Config{},
		func(_ context.Context, rt sharding.Route, ids []int) ([]string, error) {
			out := make([]string, len(ids)) // SELECT name FROM users WHERE id IN (...)
			for i, id := range ids {
				out[i] = fmt.Sprintf("user %d of %s", id, rt.Shard)
			}
			return out, nil
		})
	fmt.Println(strings.Join(names, ", "), err)
	// Output:
	// user 150 of db-1, user 7 of db-0, user 101 of db-1, user 8 of db-0 <nil>
}

func ExampleGroup() {
	users, _ := sharding.NewRanges(sharding.Between(0, 100, "db-0"), sharding.Between(100, 200, "db-1"))
	router, _ := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: users}, sharding.Config{})
	batches, err := scatter.Group(router, []int{150, 7, 101, 8})
	for _, b := range batches {
		fmt.Println(b.Route.Shard, b.Keys, err)
	}
	// Output:
	// db-1 [0 2] <nil>
	// db-0 [1 3] <nil>
}

// connector stands for a real driver: nothing is dialled before it is used.
type connector struct{ dsn string }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	return nil, errors.New("no network")
}
func (c connector) Driver() driver.Driver { return nil }

// A *sql.DB per shard, opened when it is first needed and closed when its
// shard has left the topology and the last query is done.
func ExamplePool() {
	pool := scatter.NewPool(scatter.PoolConfig[*sql.DB]{
		Open: func(_ context.Context, id sharding.ID) (*sql.DB, error) {
			return sql.OpenDB(connector{string(id)}), nil
		},
		Close: (*sql.DB).Close,
	})
	ctx := context.Background()
	db, release, err := pool.Get(ctx, "db-0")
	fmt.Println(db != nil, err)
	pool.Retain("db-1", "db-2") // the members of the new topology
	fmt.Printf("%+v\n", pool.Stats())
	release()
	_, _, err = pool.Get(ctx, "db-0")
	fmt.Println(err)
	fmt.Println(pool.Close(ctx))
	// Output:
	// true <nil>
	// {Open:1 Borrowed:1 Draining:1}
	// scatter: shard is retired: db-0
	// <nil>
}
