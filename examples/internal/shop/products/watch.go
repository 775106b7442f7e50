package products

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// readers1000 is how many ask at once in a stampede.
const readers1000 = 1000

// steerCache serves POST /_control/cache/{action} {key}: invalidate drops an article
// from every layer, everywhere; stampede does so and then lets a thousand readers ask
// for it at the same moment.
func (l *layers) steerCache(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Key string `json:"key"`
	}
	if err := wire.Decode(w, r, &in, "key"); err != nil {
		return err
	}
	if err := l.invalidate(r.Context(), in.Key); err != nil {
		return wire.Unavailable("cache", err)
	}
	switch action := r.PathValue("action"); action {
	case "invalidate":
		return wire.WriteJSON(w, http.StatusOK, map[string]string{"invalidated": in.Key})
	case "stampede":
		before := l.places.Stats().Admitted
		var wg sync.WaitGroup
		var failed atomic.Int64
		for range readers1000 {
			wg.Go(func() {
				if _, err := l.one(r.Context(), in.Key); err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		return wire.WriteJSON(w, http.StatusOK, map[string]any{
			"readers": readers1000, "loads": l.places.Stats().Admitted - before, "failed": failed.Load(),
		})
	default:
		return wire.Invalid("no action " + action + "; there are: invalidate, stampede")
	}
}
