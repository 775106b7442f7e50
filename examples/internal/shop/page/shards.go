package page

import (
	"encoding/json"
	"net/http"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/whatif"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/sharding"
)

// routeShards adds the question what another shard would move. It is worked out here, in
// control, from the topology that users tells of: the page shows it, and knows no more
// of hashes than any other client.
func routeShards(mux *http.ServeMux, shop Shop) {
	mux.Handle("GET /control/shards", control(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		present, err := topology(shop, r)
		if err != nil {
			return nil, err
		}
		n, err := wire.Number(r, "n", len(present.Shards)+1)
		if err != nil {
			return nil, err
		}
		return whatif.Grow(present, n)
	}))
	mux.Handle("POST /control/shards", control(func(http.ResponseWriter, *http.Request) (any, error) {
		return nil, wire.Invalid("this shop cannot move its users to other shards yet; GET says what would move", "n")
	}))
}

// topology asks users how its shards are placed.
func topology(shop Shop, r *http.Request) (sharding.SlotConfig, error) {
	var stats struct {
		Sections struct{ Shards collect.Shards }
	}
	_, answer, err := shop.Ask(r.Context(), "users", http.MethodGet, "/stats", nil)
	if err == nil {
		err = json.Unmarshal(answer, &stats)
	}
	if err != nil || len(stats.Sections.Shards.Config.Shards) == 0 {
		return sharding.SlotConfig{}, wire.Invalid("users does not tell how its shards are placed")
	}
	return stats.Sections.Shards.Config, nil
}
