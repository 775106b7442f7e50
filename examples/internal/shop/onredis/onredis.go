// Package onredis puts the shop's L2, its invalidation bus and its broker on a Redis
// server: what the flag -redis does. It is a package of its own, and linked on request
// alone, because go-redis takes longer to compile than all the rest of the shop.
package onredis

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/redis/go-redis/v9"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Open returns engines on the server at url, and what closes them. It does no I/O:
// while the server is out the shop starts, and copes. Names on the server depend on
// data, the directory of the stores: what is cached of one shop is wrong in another.
func Open(url, data string) (e shop.Engines, end func() error, err error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return e, nil, err
	}
	client := redis.NewClient(options)
	sum := sha256.Sum256([]byte(data))
	name := "shop-" + hex.EncodeToString(sum[:4])
	store, err := cacheredis.New(client, name, cacheredis.Config{})
	if err != nil {
		return e, nil, err
	}
	broker := messagingredis.New(client, messagingredis.Config{Prefix: name + ":"})
	e.Broker = func(*wire.Node) wire.Broker { return broker }
	e.Cache = func(*wire.Node) (cache.Remote, cache.Bus) { return store, store }
	return e, client.Close, nil
}
