package cachetest_test

import (
	"testing"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

func TestClusterKeepsTheContracts(t *testing.T) {
	t.Run("remote", func(t *testing.T) {
		cachetest.TestRemote(t, func(*testing.T) cache.Remote { return cachetest.NewCluster(1).Node() })
	})
	t.Run("bus", func(t *testing.T) {
		cachetest.TestBus(t, func(*testing.T) cache.Bus { return cachetest.NewCluster(1).Node() })
	})
}
