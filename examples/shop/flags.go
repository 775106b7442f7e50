package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

const defaultAddr = "127.0.0.1:8080"

// options are the flags, as they were given. They are a struct and no package
// variables, so that tests can run the command several times in one process.
type options struct {
	addr, preset, scenario, service, sabotage, data, saga, mode, redis, registry string
	seed                                                                         uint64
	rps                                                                          int
	length                                                                       time.Duration
	check, json, open, procs                                                     bool
	given                                                                        map[string]bool // flags, by name
}

// parse reads the flags; what they name is looked up by resolve.
func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("shop", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.addr, "addr", defaultAddr, "`address` of the page, loopback only; without it a free port is taken when this one is in use")
	f.StringVar(&o.preset, "preset", "fast", "durations: fast or classic")
	f.StringVar(&o.scenario, "scenario", "", "run a scenario, by `name` or file: "+strings.Join(scenario.Names(), ", "))
	f.DurationVar(&o.length, "for", 0, "with -check: run for so long, at least as long as the scenario needs")
	f.BoolVar(&o.check, "check", false, "run a scenario headless, print what was seen, exit 1 if it was not as expected")
	f.BoolVar(&o.json, "json", false, "with -check: print JSON")
	f.StringVar(&o.service, "service", "", "run one service alone, on PORT from the environment or its default; callees by URL in e.g. USERS_URL")
	f.StringVar(&o.sabotage, "sabotage", "", "break a pattern on purpose: "+strings.Join(shop.Sabotages(), ", "))
	f.StringVar(&o.data, "data", "", "`directory` of the stores, a directory per service; without it a temporary one, removed at the end")
	f.StringVar(&o.redis, "redis", os.Getenv("SHOP_REDIS"), "`URL` of a Redis server for L2, invalidations and broker; needs -tags redis")
	f.StringVar(&o.registry, "registry", "", "`URL` of a registry with Consul's API, such as http://127.0.0.1:8500; without it the shop's own")
	f.BoolVar(&o.procs, "procs", false, "a process per service")
	f.StringVar(&o.saga, "saga", "orchestration", "orders by orchestration or choreography")
	f.StringVar(&o.mode, "mode", "micro", "micro, or monolith: all of an order in one append")
	f.Uint64Var(&o.seed, "seed", 1, "of load and faults")
	f.IntVar(&o.rps, "rps", 50, "requests per second of the load, 0 to 2000")
	f.BoolVar(&o.open, "open", false, "open the page in the browser")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	// A default cannot be told from the same value given by hand in any other way.
	o.given = map[string]bool{}
	f.Visit(func(fl *flag.Flag) { o.given[fl.Name] = true })
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

// resolve checks the options and finds what they name. All of it comes before
// anything is started: a typing error must not cost a run of twenty seconds, and
// must not pass for a failed expectation.
func (o *options) resolve() (preset shop.Preset, script scenario.Script, err error) {
	if preset, err = shop.FindPreset(o.preset); err != nil {
		return preset, script, err
	}
	if preset, err = preset.Sabotage(o.sabotage); err != nil {
		return preset, script, err
	}
	if o.scenario != "" {
		if script, err = scenario.Load(o.scenario); err != nil {
			return preset, script, err
		}
		if err = shop.CheckTargets(script); err != nil {
			return preset, script, err
		}
		if err = o.adopt(script); err != nil {
			return preset, script, err
		}
	}
	switch {
	case o.rps < 0 || o.rps > 2000:
		err = fmt.Errorf("-rps %d: want 0 to 2000", o.rps)
	case o.saga != "orchestration" && o.saga != "choreography":
		err = fmt.Errorf("-saga %s: want orchestration or choreography", o.saga)
	case o.mode != "micro" && o.mode != "monolith":
		err = fmt.Errorf("-mode %s: want micro or monolith", o.mode)
	case o.service != "" && (o.scenario != "" || o.check || o.given["addr"] || o.open):
		err = errors.New("-service runs one service without page and load: -addr, -scenario, -check and -open go without it")
	case o.check && o.scenario == "":
		err = errors.New("-check needs -scenario: " + strings.Join(scenario.Names(), ", "))
	case o.json && !o.check, o.length != 0 && !o.check:
		err = errors.New("-for and -json go with -check")
	case o.check && len(script.Expects) == 0: // it would print "0 of 0" and exit 0, in every build
		err = fmt.Errorf("-check: scenario %s expects nothing, so it cannot fail", script.Name)
	case o.length != 0 && o.length < script.Length():
		err = fmt.Errorf("-for %v: scenario %s needs %v", o.length, script.Name, script.Length())
	default:
		err = wire.CheckLoopback(o.addr)
	}
	return preset, script, err
}

// adopt sets what the script needs, unless the command line says otherwise.
func (o *options) adopt(script scenario.Script) error {
	for name, value := range script.Needs {
		switch {
		case o.given[name]: // checked below, as any other
		case name == "saga":
			o.saga = value
		case name == "mode":
			o.mode = value
		case name == "procs":
			o.procs = true
		}
	}
	return shop.Config{Saga: o.saga, Mode: o.mode, Procs: o.procs}.Serves(script)
}

// repeat is the command that runs the same check again.
func (o *options) repeat(script scenario.Script, length time.Duration) string {
	words := []string{
		"go run ./examples/shop -check -scenario", script.Name, "-for", length.String(), "-preset", o.preset, "-seed", fmt.Sprint(o.seed),
	}
	for _, f := range []struct {
		name, value, usual string
	}{{"-sabotage", o.sabotage, ""}, {"-saga", o.saga, "orchestration"}, {"-mode", o.mode, "micro"}} {
		if f.value != f.usual {
			words = append(words, f.name, f.value)
		}
	}
	if o.procs {
		words = append(words, "-procs")
	}
	return strings.Join(words, " ")
}

// keep makes the directory of the stores. What it returns ends the run: a temporary
// directory is removed, unless the run has failed, when it says what happened.
func (o *options) keep(stderr io.Writer) (end func(code int), err error) {
	if o.data != "" {
		return func(int) {}, os.MkdirAll(o.data, 0o700)
	}
	if o.data, err = os.MkdirTemp("", "keelson-shop-"); err != nil {
		return nil, err
	}
	return func(code int) {
		if code == exitFailed {
			fmt.Fprintln(stderr, "shop: the stores are kept in", o.data)
			return
		}
		_ = os.RemoveAll(o.data) // a temporary directory that stays is no failure of the run
	}, nil
}

// engines are the light ones, or those on Redis.
func (o *options) engines() (e shop.Engines, end func() error, err error) {
	if o.redis == "" {
		return e, func() error { return nil }, nil
	}
	// For the children of -procs, and not as an argument: it may hold a password.
	if err := os.Setenv("SHOP_REDIS", o.redis); err != nil {
		return e, nil, err
	}
	return onRedis(o.redis, o.data)
}
