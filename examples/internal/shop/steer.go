package shop

// This file is what a scenario, a page and a checker do to the shop beyond faults:
// switches, replicas, the load, and whatever a service offers under /_control.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/check"
	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// control is what control remembers besides the faults.
type control struct {
	mu       sync.Mutex
	switches map[string]string
	version  uint64 // of switches
}

// Do does one action of a scenario, and returns what takes it back.
func (s *Shop) Do(ctx context.Context, a scenario.Action) (undo func(), err error) {
	switch a.Verb {
	case "fault":
		rule, err := s.Inject(a.Fault)
		return func() { _ = s.ClearFault(rule.ID) }, err // unless its time has cleared it
	case "clear":
		return nil, s.Clear(a.Target)
	case "kill":
		return s.startAgain(a.Target), s.KillService(a.Target)
	case "stop":
		return s.startAgain(a.Target), s.StopService(a.Target)
	case "start":
		return nil, s.StartService(a.Target)
	case "restart":
		return s.startAgain(a.Target), s.RestartService(a.Target)
	case "scale":
		before := s.replicasOf(a.Target)
		return func() { _ = s.Scale(a.Target, before) }, s.Scale(a.Target, a.N)
	case "set":
		before := s.Switches()[a.Target]
		return func() { _ = s.SetSwitch(a.Target, before) }, s.SetSwitch(a.Target, a.Value)
	case "buy":
		return nil, s.buy(ctx, a.Target, a.N, a.Stock)
	case "send":
		return nil, s.send(ctx, a.Target, a.Value)
	}
	return nil, fmt.Errorf("%s is not possible here", a.Verb)
}

// startAgain undoes whatever may have ended a service. To start one that runs does
// nothing, and keeping book of which do would be one more thing to be wrong.
func (s *Shop) startAgain(name string) func() {
	return func() { _ = s.StartService(name) }
}

// replicasOf counts the replicas of a service.
func (s *Shop) replicasOf(service string) int {
	found, _ := s.targets(service)
	return len(found)
}

// Load is the rate and the mix of the load.
func (s *Shop) Load() (rps int, mix load.Mix) { return s.load.RPS(), s.load.Mix() }

// SetLoad changes the load; a nil mix leaves it as it is. The rate is brought into
// range.
func (s *Shop) SetLoad(rps int, mix load.Mix) {
	if mix != nil {
		_ = s.load.SetMix(mix) // whoever made it has checked it
	}
	s.load.SetRPS(rps)
	s.collector.Stir()
}

// Settle stops the load and returns when its last request is over, every saga has
// ended or is stuck, and every message is handled; or after ten seconds, or when ctx
// ends. The lamps are of that moment.
func (s *Shop) Settle(ctx context.Context) {
	s.load.Settle(ctx)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	// The services tell of themselves ten times a second: what is heard in the first
	// moments is of the time before the load had ended.
	quiet := 0
	for range 100 {
		quiet++
		if state := s.State(); unsettled(state) {
			quiet = 0
		}
		if quiet >= 5 {
			break
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
	if len(s.State().Faults) > 0 { // somebody's, and in force: nothing need be in order
		s.checker.Check(ctx)
		return
	}
	s.checker.Final(ctx)
}

// unsettled reports whether something is still on its way.
func unsettled(state collect.State) bool {
	waiting := state.Sagas.Unfinished()
	for _, n := range state.Outbox {
		waiting += int(n)
	}
	for _, g := range state.Broker {
		waiting += g.Ready + g.Delayed
	}
	return waiting > 0
}

// Judge reads the history of the run once more, as a lamp of its own.
func (s *Shop) Judge(ctx context.Context, history io.Reader) error {
	if err := s.load.Flush(); err != nil {
		return err
	}
	s.checker.Offline(ctx, history)
	return nil
}

// Switches are the switches as they stand.
func (s *Shop) Switches() map[string]string {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	return maps.Clone(s.control.switches)
}

// switchOrders are all switches as of one moment, for a service.
func (s *Shop) switchOrders() wire.SwitchOrders {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	return wire.SwitchOrders{Version: s.control.version, Values: maps.Clone(s.control.switches)}
}

// SetSwitch changes a switch for every service.
func (s *Shop) SetSwitch(name, value string) error {
	if err := scenario.CheckSwitch(name, value); err != nil {
		return err
	}
	s.control.mu.Lock()
	changed := s.control.switches[name] != value
	s.control.switches[name] = value
	s.control.version++
	s.control.mu.Unlock()
	orders := s.switchOrders()
	var errs []error
	for _, r := range s.all() {
		errs = append(errs, s.pushSwitches(r, orders))
	}
	why := ""
	if changed {
		why = "switch " + name + " is " + value
	}
	s.collector.SetSwitches(orders.Values, why)
	return errors.Join(errs...)
}

// pushSwitches tells one service; one that is stopped gets them at its start.
func (s *Shop) pushSwitches(r *replica, orders wire.SwitchOrders) error {
	if !r.running() {
		return nil
	}
	body, err := json.Marshal(orders)
	if err != nil {
		return err
	}
	err = s.put("http://"+r.addr+"/_control/switches", body)
	if !r.running() {
		return nil
	}
	return err
}

// Ask sends a request to a service with the secret of this run, and returns its
// answer whatever the status is. What the page shows of a service's inside, and
// does to it, goes this way.
func (s *Shop) Ask(ctx context.Context, service, method, path string, body []byte) (status int, answer []byte, err error) {
	r, err := s.replica(service)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set(wire.HeaderSecret, s.secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, answer, err
}

// askOK is Ask for what must succeed.
func (s *Shop) askOK(ctx context.Context, service, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	status, answer, err := s.Ask(ctx, service, method, path, body)
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s %s%s answered %d: %.200s", method, service, path, status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// has reports whether the shop has a service.
func has(service string) bool {
	_, err := FindService(service)
	return err == nil
}

// loadConfig is what the load knows: the gateway, like any client, and a way to
// sign in that does not count its requests.
func (s *Shop) loadConfig() load.Config {
	c := load.Config{
		Target: s.URL("gateway"), Network: s.network, Seed: s.config.Seed, RPS: s.config.RPS,
		Patience: s.config.Preset.Wire.Deadline, Products: has("products"), History: s.config.History,
	}
	if has("payments") {
		c.Login = s.login
		// As old as a value can get in L2, which may have got it from the query cache.
		c.FreshFor = s.config.Preset.Wire.SharedTTL + s.config.Preset.Wire.QueryTTL + time.Second
	}
	return c
}

// login gets a token without a limit, which users grants for the run secret alone.
func (s *Shop) login(ctx context.Context, user int, _ string) (string, error) {
	var session struct{ Token string }
	body := fmt.Appendf(nil, `{"userId":%d}`, user)
	status, answer, err := s.Ask(ctx, "users", http.MethodPost, "/sessions", body)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return "", nil // a shop without sessions
	case status >= 300:
		return "", fmt.Errorf("sessions answered %d: %.200s", status, answer)
	}
	err = json.Unmarshal(answer, &session)
	return session.Token, err
}

func (s *Shop) newChecker() *check.Checker {
	return check.New(check.Config{
		URL: s.URL, Client: s.http, Secret: s.secret, Has: has,
		State: s.State, AtRest: s.collector.AtRest, Witness: s.load.Witness, Set: s.collector.SetLamp,
	})
}

// buy is a flash sale: stock on hand is brought to so many, and then so many buyers
// come within two seconds.
func (s *Shop) buy(ctx context.Context, sku string, buyers, stock int) error {
	var shelves struct {
		SKUs map[string]struct{ OnHand int }
	}
	if err := s.askOK(ctx, "inventory", http.MethodGet, "/stock", nil, &shelves); err != nil {
		return err
	}
	if lacks := stock - shelves.SKUs[sku].OnHand; lacks > 0 {
		if err := s.askOK(ctx, "inventory", http.MethodPost, "/stock/"+sku, map[string]int{"add": lacks}, nil); err != nil {
			return err
		}
	}
	s.load.Burst(sku, buyers)
	return nil
}

// send publishes a message as any service would.
func (s *Shop) send(ctx context.Context, topic, body string) error {
	key := strconv.FormatInt(time.Now().UnixNano(), 36)
	message := messaging.Message{ID: "scenario-" + key, Topic: topic, Key: key, Body: []byte(body)}
	return s.askOK(ctx, "broker", http.MethodPost, "/messages", []messaging.Message{message}, nil)
}
