// Package page serves the live page, the documents behind it, and the controls
// that break the shop. It answers requests for its own address and its own
// origin only: what can stop a service must not be within reach of a foreign web
// page, nor of a name that has been pointed at this machine.
//
// The page is plain HTML, CSS and ES modules, embedded as they are: there is no
// build step between what is read here and what runs. All that it shows comes by
// one stream, and all that it can do is a request under /control, so whatever it
// does can be done by curl.
package page

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

//go:embed static
var static embed.FS

// Shop is what the page shows and acts on: how far the power of a visitor reaches
// is what stands here.
type Shop interface {
	Hub() *collect.Hub
	State() collect.State
	Inject(r fault.Rule) (fault.Rule, error)
	ClearFault(id string) error
	Clear(target string) error
	KillService(name string) error
	StopService(name string) error
	StartService(name string) error
	RestartService(name string) error
	Scale(service string, n int) error
	SetSwitch(name, value string) error
	Load() (rps int, mix load.Mix)
	SetLoad(rps int, mix load.Mix)
	Do(ctx context.Context, a scenario.Action) (undo func(), err error)
	StartScenario(s scenario.Script) error
	StopScenario(name string) error
	// Ask sends a request to a service with the secret of this run.
	Ask(ctx context.Context, service, method, path string, body []byte) (status int, answer []byte, err error)
}

// Handler returns the page and its API for the listener address addr.
func Handler(shop Shop, addr string) http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic("page: " + err.Error()) // the directory is part of the binary
	}
	mux.Handle("GET /", http.FileServerFS(files))
	mux.Handle("GET /events", shop.Hub())
	mux.Handle("GET /state", wire.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		return wire.WriteJSON(w, http.StatusOK, shop.State())
	}))
	mux.Handle("GET /metrics", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeMetrics(w, shop.State()) // the client is gone if this fails
	}))
	routeControl(mux, shop)
	routeLook(mux, shop)
	return guard(mux, addr)
}

// guard refuses foreign hosts and origins, and sets the headers that every
// answer has.
func guard(next http.Handler, addr string) http.Handler {
	// Two guards against two attacks. A foreign page that sends a form here has the
	// right Host and the wrong Origin; a foreign name that has been pointed at this
	// machine has the right Origin, its own, and the wrong Host.
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(wire.Handler(func(http.ResponseWriter, *http.Request) error {
		return wire.NewProblem(http.StatusForbidden, "cross-origin", "only the page itself may do this")
	}))
	inner := origin.Handler(next)
	hosts := ownHosts(addr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// The second line of defence, should a user's name ever find its way past
		// textContent: no script but our files, no frame around us.
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache") // the files have no version in their names
		if !hosts[r.Host] {
			wire.WriteProblem(w, r, wire.NewProblem(http.StatusForbidden, "host", "this page is served as http://"+addr+" only"))
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// ownHosts are the Host headers under which the page may be asked for. A name
// that resolves to this machine but is not one of them belongs to somebody else
// (DNS rebinding).
func ownHosts(addr string) map[string]bool {
	hosts := map[string]bool{addr: true}
	if _, port, err := net.SplitHostPort(addr); err == nil {
		hosts[net.JoinHostPort("localhost", port)] = true
	}
	return hosts
}

// Server serves the page on one listener.
type Server struct {
	http *http.Server
	end  context.CancelFunc
	done chan struct{}
}

// Serve answers on ln until Close, and returns at once.
func Serve(ln net.Listener, shop Shop, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{end: cancel, done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           Handler(shop, ln.Addr().String()),
		ReadHeaderTimeout: 2 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(ln) // ends with Close, and says only that
	}()
	return s
}

// Close ends the streams, and then the server. Browsers keep connections open
// that they have not used yet; those are cut after a moment.
func (s *Server) Close() {
	s.end() // Shutdown would wait for streams, which never end by themselves
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	<-s.done
}
