//go:build !redis

package main

import (
	"errors"

	"github.com/keelson-go/keelson/examples/internal/shop"
)

// onRedis says how to get what this build leaves out: go-redis takes longer to compile
// than the shop, and nobody's first run is to wait for it.
func onRedis(string, string) (shop.Engines, func() error, error) {
	return shop.Engines{}, nil, errors.New("-redis needs another build: go run -tags redis ./examples/shop -redis redis://127.0.0.1:6379")
}
