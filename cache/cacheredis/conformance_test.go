package cacheredis_test

import (
	"testing"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/cache/cachetest"
)

func TestStoreKeepsTheContracts(t *testing.T) {
	client := one(t)
	for _, c := range []struct {
		name   string
		config cacheredis.Config
	}{{"stream", cacheredis.Config{}}, {"pubsub", cacheredis.Config{PubSub: true}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Run("remote", func(t *testing.T) {
				cachetest.TestRemote(t, func(t *testing.T) cache.Remote { return open(t, client, c.config) })
			})
			t.Run("bus", func(t *testing.T) {
				cachetest.TestBus(t, func(t *testing.T) cache.Bus { return open(t, client, c.config) })
			})
		})
	}
}
