// Package check watches over what must be true of the shop whatever breaks: that
// no money and no article gets lost or is made, that an order has one outcome,
// that nobody is shown the past after the present. It reads what services publish,
// every second and from outside, and keeps a lamp for each invariant.
//
// A lamp is ok, broken or unknown. Broken is sticky: one moment in which money was
// missing is enough. Unknown means that the source could not be read: grey, and
// never green, since silence proves nothing.
//
// What has to come true in time, such as the end of every saga, is asked for once
// no fault has been in force for a while. What must never happen is asked for
// always.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// The lamps.
const (
	Money    = "money"
	Stock    = "stock"
	Orders   = "orders"
	Sagas    = "sagas"
	Versions = "versions"
	Lag      = "lag"
	Stale    = "stale"
	Load     = "load"
	History  = "history" // of the offline judge
)

// equations are what each lamp stands for, in the words of the page.
var equations = map[string]string{
	Money:    "wallets + held + (captured − refunded) = deposited − withdrawn; every entry pair is 0; no wallet < 0",
	Stock:    "on hand + reserved + shipped = initial + added, for every article; none < 0",
	Orders:   "one capture per confirmed order; none without shipment or refund; every order that was promised exists; one order per key",
	Sagas:    "none older than 5 s without faults; stuck only where an undo was refused",
	Versions: "nobody sees a version fall; no stream has a gap",
	Lag:      "every read model is at most 1 s behind without faults",
	Stale:    "nothing stale without its label",
	Load:     "the load is at most 100 ms behind its schedule, and sends",
	History:  "judged once more from the record of every call",
}

// Equation is what a lamp stands for; "" for an unknown one.
func Equation(name string) string { return equations[name] }

// settle is how long after the last fault things must be in order again.
const settle = 5 * time.Second

// Config says where to look. All fields but Has are required.
type Config struct {
	URL     func(service string) string // base URL, on the network of Client
	Client  *http.Client
	Secret  string // of this run
	Has     func(service string) bool
	State   func() collect.State
	AtRest  func() bool // nothing happens
	Witness func() load.Witness
	Set     func(name string, l collect.Lamp)
}

// Checker keeps the lamps. Check and Run may be called from several goroutines.
type Checker struct {
	config Config
	logs   []*follower

	// turn holds one token, for one check at a time. It is a channel and no mutex
	// because a check waits for services: in a synctest bubble time stands still for
	// those who wait for a mutex.
	turn     chan struct{}
	ledger   *ledger
	troubled time.Time // when a fault was last in force
	refused  bool      // a fault has refused something, so an undo may have failed
	final    bool      // this look is the last
	late     int       // checks in a row in which the load was late
	sent     uint64    // by the load at the last check
}

// New returns a checker that has not looked yet.
func New(c Config) *Checker {
	out := &Checker{config: c, ledger: newLedger(), turn: make(chan struct{}, 1)}
	for _, service := range []string{"orders", "payments", "inventory", "shipping"} {
		if c.Has(service) {
			out.logs = append(out.logs, &follower{service: service})
		}
	}
	return out
}

// Run checks once a second until ctx ends, and every fourth second while nothing
// happens.
func (c *Checker) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
			if n%4 == 0 || !c.config.AtRest() {
				c.Check(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// verdict is what a look at one invariant has shown: err if the source could not
// be read, broken if it does not hold.
type verdict struct {
	detail string
	broken bool
	err    error
}

func holds(ok bool, format string, args ...any) verdict {
	return verdict{detail: fmt.Sprintf(format, args...), broken: !ok}
}

// patience is how long one service may take to answer; the others are asked all the
// same.
const patience = 500 * time.Millisecond

// Check looks at everything once.
func (c *Checker) Check(ctx context.Context) { c.look(ctx, false) }

// Final is Check once the load has stopped, the faults are gone and things have had
// their time to settle: now everything must have come to its end.
func (c *Checker) Final(ctx context.Context) { c.look(ctx, true) }

func (c *Checker) look(ctx context.Context, final bool) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.final = final
	state := c.config.State()
	c.noteFaults(state)
	if c.config.Has("payments") {
		c.set(Money, c.checkMoney(ctx))
	}
	if c.config.Has("inventory") {
		c.set(Stock, c.checkStock(ctx))
	}
	if len(c.logs) > 0 && c.config.Has("payments") {
		err := c.follow(ctx)
		c.set(Orders, c.checkOrders(state.Sagas.Stuck, err))
		c.set(Versions, c.checkVersions(err))
		c.set(Sagas, c.checkSagas(state))
		c.set(Lag, c.checkLag(state))
	}
	if c.config.Has("products") {
		c.set(Stale, c.checkStale(state))
	}
	c.set(Load, c.checkLoad(state))
}

func (c *Checker) set(name string, v verdict) { c.config.Set(name, v.lamp(name)) }

func (v verdict) lamp(name string) collect.Lamp {
	l := collect.Lamp{Status: collect.LampOK, Equation: equations[name], Detail: v.detail, CheckedAt: time.Now().UnixMilli()}
	switch {
	case v.err != nil:
		l.Status, l.Detail = collect.LampUnknown, v.err.Error()
	case v.broken:
		l.Status = collect.LampBroken
	}
	return l
}

// noteFaults keeps when the last fault was in force. A stopped service is one, and so
// is a lag on purpose.
func (c *Checker) noteFaults(s collect.State) {
	trouble := len(s.Faults) > 0 || s.Switches["replica-lag"] == "on"
	for _, f := range s.Faults {
		c.refused = c.refused || f.Kind == "refuse"
	}
	for _, service := range s.Services {
		trouble = trouble || service.State == "stopped" || service.State == "failing"
	}
	if trouble {
		c.troubled = time.Now()
	}
}

// calm reports whether no fault has been in force for so long that everything
// must be in order again.
func (c *Checker) calm() bool { return c.final || time.Since(c.troubled) > settle }

// read asks a service for a JSON document.
func (c *Checker) read(ctx context.Context, service, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := c.get(ctx, service, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("%s%s: %w", service, path, err)
	}
	return nil
}

// errNobody is what is asked of a service that cannot answer.
var errNobody = errors.New("does not answer")

func (c *Checker) get(ctx context.Context, service, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.URL(service)+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(wire.HeaderSecret, c.config.Secret)
	req.Header.Set(wire.HeaderPoll, "1")
	resp, err := c.config.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %w", service, errNobody) // the transport's text has a port in it, and no news
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s%s answered %d", service, path, resp.StatusCode)
	}
	return resp, nil
}

// checkVersions: what clients and logs have shown.
func (c *Checker) checkVersions(err error) verdict {
	for _, f := range c.logs {
		if f.gap != "" {
			return holds(false, "%s", f.gap)
		}
	}
	w := c.config.Witness()
	if w.Falls > 0 {
		return holds(false, "%d of %d reads, the last: %s", w.Falls, w.Reads, w.LastFall)
	}
	if err != nil {
		return verdict{err: err}
	}
	streams := 0
	for _, f := range c.logs {
		streams += len(f.streams)
	}
	return holds(true, "%d reads, %d streams", w.Reads, streams)
}

// checkStale: nobody has been shown something old that did not say so.
func (c *Checker) checkStale(s collect.State) verdict {
	w := c.config.Witness()
	browse, _ := s.Load[load.Browse].(collect.Op)
	if w.Reads == 0 && browse.Sent > 0 {
		return verdict{err: fmt.Errorf("no answer to %d requests", browse.Sent)}
	}
	return holds(w.Unlabelled == 0, "%d of %d answers %s", w.Unlabelled, w.Reads, w.LastStale)
}

// lateLimit is how far the load may be behind its schedule; it is broken when that
// is so for several seconds, since a moment says something about the machine.
const (
	lateLimit = 100.0 // ms
	lateFor   = 3     // checks
)

func (c *Checker) checkLoad(s collect.State) verdict {
	behind, _ := s.Load["behindMs"].(float64)
	rps, _ := s.Load["rps"].(int)
	var sent uint64
	for _, op := range load.Operations() {
		o, _ := s.Load[op].(collect.Op)
		sent += o.Sent
	}
	quiet := rps >= 2 && sent == c.sent // at one request a second a look may fall between two
	c.sent = sent
	if behind > lateLimit || quiet {
		c.late++
	} else {
		c.late = 0
	}
	return holds(c.late < lateFor, "%.1f ms behind, %d sent", behind, sent)
}

// checkSagas asks for the end of every saga once things are calm.
func (c *Checker) checkSagas(s collect.State) verdict {
	g := s.Sagas
	text := fmt.Sprintf("%d unfinished, the oldest %.1f s; %d stuck", g.Unfinished(), g.OldestMs/1000, g.Stuck)
	old := c.calm() && g.Unfinished() > 0 && (c.final || g.OldestMs > float64(settle/time.Millisecond))
	return verdict{detail: text, broken: old || g.Stuck > 0 && !c.refused}
}

// maxLag is in milliseconds.
const maxLag = 1000.0

func (c *Checker) checkLag(s collect.State) verdict {
	worst, name := 0.0, "none"
	for _, n := range sortedKeys(s.Lag) {
		if s.Lag[n] > worst {
			worst, name = s.Lag[n], n
		}
	}
	if len(s.Lag) == 0 {
		return verdict{err: errors.New("no read model tells how far it is")}
	}
	return holds(worst <= maxLag || !c.calm(), "%d read models, the last is %s: %.0f ms", len(s.Lag), name, worst)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
