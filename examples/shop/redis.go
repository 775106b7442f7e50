//go:build redis

package main

import (
	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/onredis"
)

// onRedis returns engines on the Redis server at url.
func onRedis(url, data string) (shop.Engines, func() error, error) { return onredis.Open(url, data) }
