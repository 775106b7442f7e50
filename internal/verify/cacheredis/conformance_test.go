package cacheredis

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/stretchr/testify/require"
)

func TestStoreKeepsTheContractsOnTheNewestClient(t *testing.T) {
	client := clientOf(t, engine.Redis(t).Addr())
	var names atomic.Int64
	for name, c := range map[string]cacheredis.Config{"stream": {}, "pubsub": {PubSub: true}} {
		open := func(t *testing.T) *cacheredis.Store {
			s, err := cacheredis.New(client, fmt.Sprintf("test-%d", names.Add(1)), c)
			require.NoError(t, err)
			return s
		}
		t.Run(name, func(t *testing.T) {
			cachetest.TestRemote(t, func(t *testing.T) cache.Remote { return open(t) })
			cachetest.TestBus(t, func(t *testing.T) cache.Bus { return open(t) })
		})
	}
}
