package shop

import (
	"context"
	"net/http"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Secret is that of the run: what control has, and no client.
func (s *Shop) Secret() string { return s.secret }

// Key is the key for tokens.
func (s *Shop) Key() []byte { return s.key }

// Network is what the services listen on.
func (s *Shop) Network() wire.Network { return s.network }

// OpenStore opens a log as a service does.
func OpenStore(data, service, part string) (wire.Events, error) {
	return Engines{}.withDefaults(data).stores(service).Events(part)
}

// Put tells a service something as control does.
func Put(ctx context.Context, client *http.Client, url string) error {
	return (&Shop{ctx: ctx, http: client}).put(url, nil)
}
