// Command shop runs a small web shop on keelson, breaks it on request, and shows
// on a live page what breaker and retry do about it.
//
//	go run ./examples/shop                                        # prints the page's address
//	go run ./examples/shop -check -scenario users-blackhole       # headless, with an exit code
//	PORT=3000 go run ./examples/shop -service users               # one service alone
//
// Exit codes: 0 all well, 1 an expectation failed, 2 usage, 3 could not start.
//
// This file is what the shop has to do with a process: flags, signals, ports, exit
// codes. The shop itself is package shop, which knows of none of them and so runs
// in a test as it runs here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/page"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitStart  = 3
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if os.Getenv(shop.EnvSpec) != "" {
		// A child of -procs: Ctrl-C reaches all of the terminal's processes at once, and
		// in which order they stop is the parent's to say.
		signal.Ignore(os.Interrupt)
		signals = signals[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// After the first Ctrl-C the signal means again what it means everywhere:
	// whoever presses it twice does not want to wait.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it: it exits nowhere but at its end, so
// that what is deferred is done, and tests can call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var preset shop.Preset
	var script scenario.Script
	if err == nil {
		preset, script, err = o.resolve()
	}
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitUsage
	}
	// To stderr, so that what -check prints can be piped; from warnings up, since
	// what is to be seen is on the page.
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	end, err := o.keep(stderr)
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	defer func() { end(code) }()
	engines, release, err := o.engines()
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitUsage
	}
	defer func() { _ = release() }() // what is under way on a connection has ended with the services
	if o.service != "" {
		return o.serveAlone(ctx, engines, preset, log, os.Stdin, stdout, stderr)
	}
	rps := o.rps
	if o.check {
		rps = 0 // the run itself starts and ends the load, so that its figures add up
	}
	config := shop.Config{
		Engines: engines, Preset: preset, Data: o.data, Sabotage: o.sabotage, Seed: o.seed, RPS: rps, Logger: log, Procs: o.procs, Saga: o.saga, Mode: o.mode, Registry: o.registry,
		FreePorts: os.Getenv("SHOP_FREE_PORTS") != "",
	}
	if o.check {
		return o.startCheck(ctx, config, script, stdout, stderr)
	}
	s, err := shop.Start(config)
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	defer s.Close() // after the page's own, which is deferred later: nobody steers a shop that closes
	return o.runPage(ctx, s, script, log, stdout, stderr)
}

// runPage serves the page until Ctrl-C.
func (o *options) runPage(ctx context.Context, s *shop.Shop, script scenario.Script, log *slog.Logger, stdout, stderr io.Writer) int {
	// Nobody has chosen 8080, so another port is as good; an address that was given
	// is one that somebody will look at.
	ln, err := wire.TCP{}.Listen(o.addr)
	if err != nil && !o.given["addr"] {
		ln, err = wire.TCP{}.Listen("127.0.0.1:0")
	}
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	srv := page.Serve(ln, s, log)
	defer srv.Close()
	url := "http://" + ln.Addr().String() + "/"
	// Only now, when somebody listens: what prints an address is taken at its word.
	fmt.Fprintf(stdout, "page     %s\ngateway  %s/api/users\n", url, s.URL("gateway"))
	// Said here and nowhere else: they are new in every run.
	fmt.Fprintf(stdout, "sign in as Alice, a customer, {\"userId\":1,\"secret\":%q}\n", s.FirstSecret(1))
	fmt.Fprintf(stdout, "     or as Bob, the operator, {\"userId\":2,\"secret\":%q}\nCtrl-C ends the shop.\n", s.FirstSecret(2))
	if o.scenario != "" {
		if err := s.StartScenario(script); err != nil {
			fmt.Fprintln(stderr, "shop:", err)
			return exitStart
		}
	}
	if o.open {
		openBrowser(url, log)
	}
	<-ctx.Done()
	return 0
}

// openBrowser is a convenience, so a failure is a remark and no error.
func openBrowser(url string, log *slog.Logger) {
	argv := map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}[runtime.GOOS]
	if argv == nil {
		argv = []string{"xdg-open"}
	}
	if err := exec.Command(argv[0], append(argv[1:], url)...).Start(); err != nil {
		log.Warn("the browser could not be opened", "err", err)
	}
}
