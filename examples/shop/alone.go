package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// serveAlone runs one service in the foreground: what a container or an init
// system would start, and what -procs does.
func (o *options) serveAlone(ctx context.Context, engines shop.Engines, preset shop.Preset, log *slog.Logger, stdin io.Reader, stdout, stderr io.Writer) int {
	svc, err := shop.FindService(o.service)
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitUsage
	}
	port := svc.Port
	if text := os.Getenv("PORT"); text != "" {
		if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
			fmt.Fprintf(stderr, "shop: PORT=%q: want 0 to 65535\n", text)
			return exitUsage
		}
	}
	spec, child, err := shop.SpecFrom(os.Getenv)
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitUsage
	}
	if child {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() { // ends with the parent, by whatever hand that dies
			defer cancel()
			_, _ = io.Copy(io.Discard, stdin)
		}()
	} else {
		spec = shop.Alone(svc, os.Getenv)
	}
	// A port that was asked for is not replaced by another one: whoever set it
	// will look for the service there.
	ln, err := wire.TCP{}.Listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	fmt.Fprintf(stdout, "%s http://%s\n", spec.Name, ln.Addr())
	c := shop.Config{Engines: engines, Preset: preset, Data: o.data, Sabotage: o.sabotage, Seed: o.seed, Logger: log, Saga: o.saga}
	if err := shop.ServeAlone(ctx, svc, ln, c, spec); err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	return 0
}
