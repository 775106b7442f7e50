package shop

// This file is what the page and the scenarios may do to a running shop. Every
// method may be called at any time and from several goroutines: two visitors, or
// a visitor and a script, are not kept from treading on each other's feet, but
// what is in force at the end is what the page shows.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// ErrBusy is what a second scenario gets while one runs.
var ErrBusy = errors.New("a scenario is running")

// maxFaults bounds the faults in force at once. Every request of a service walks
// through its rules, and every frame of the stream lists them.
const maxFaults = 32

// runningScenario is the one that runs.
type runningScenario struct {
	name   string
	cancel context.CancelCauseFunc // the cause is shown as the reason of the end
	done   chan struct{}
}

// Inject puts a fault in force and returns it with its id. With For set it ends
// by itself.
func (s *Shop) Inject(r fault.Rule) (fault.Rule, error) {
	targets, err := s.targetsOf(r)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	if s.closing || len(s.active) >= maxFaults {
		defer s.mu.Unlock()
		cancel()
		if s.closing {
			return r, errEnded
		}
		return r, fmt.Errorf("%d faults are in force, which is the most; clear one", maxFaults)
	}
	s.lastID++
	s.version++
	// Numbered and not random: a fault's draws depend on its id, and the same
	// script with the same seed must hit the same requests.
	r.ID = fmt.Sprintf("%s-%s-%d", r.Target, r.Kind, s.lastID)
	s.active = append(s.active, activeFault{rule: r, since: time.Now(), cancel: cancel})
	if r.For > 0 {
		s.wg.Go(func() { s.clearAfter(ctx, r) }) // under mu: Close has not begun to wait
	}
	s.mu.Unlock()
	for _, target := range targets {
		if err := s.push(target); err != nil {
			_ = s.ClearFault(r.ID) // listed and without effect would be a lie on the page
			return r, err
		}
	}
	s.report(fmt.Sprintf("fault on %s: %s", r.Where(), r))
	return r, nil
}

// clearAfter waits for the end of a fault with a time, unless it is cleared
// before that or the shop ends.
func (s *Shop) clearAfter(ctx context.Context, r fault.Rule) {
	t := time.NewTimer(r.For)
	defer t.Stop()
	select {
	case <-t.C:
		_ = s.ClearFault(r.ID) // somebody else has cleared it
	case <-ctx.Done():
	}
}

// ClearFault ends one fault.
func (s *Shop) ClearFault(id string) error {
	if s.remove(func(r fault.Rule) bool { return r.ID == id }) == 0 {
		return fmt.Errorf("no fault %q", id)
	}
	return nil
}

// Clear ends the faults of a service, or of "all".
func (s *Shop) Clear(target string) error {
	if target != "all" {
		if _, err := s.targets(target[strings.Index(target, ">")+1:]); err != nil { // the whole of it without a caller
			return err
		}
	}
	s.remove(func(r fault.Rule) bool { return target == "all" || r.Where() == target || r.Target == target })
	return nil
}

// remove ends the faults that match and says how many there were.
func (s *Shop) remove(match func(fault.Rule) bool) int {
	var gone []fault.Rule
	s.mu.Lock()
	s.active = slices.DeleteFunc(s.active, func(a activeFault) bool {
		if !match(a.rule) {
			return false
		}
		a.cancel() // nobody waits any more for the end of what has ended
		gone = append(gone, a.rule)
		return true
	})
	s.version++
	s.mu.Unlock()
	for _, r := range gone {
		targets, _ := s.targets(r.Target) // one that has been scaled away needs no orders
		for _, target := range targets {
			_ = s.push(target) // a service that cannot hear of it is stopped, and starts without faults
		}
		s.report(fmt.Sprintf("fault on %s cleared: %s", r.Where(), r.Kind))
	}
	return len(gone)
}

// orders are the rules in force for a service, with the version of this moment.
func (s *Shop) orders(name string) fault.Orders {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := fault.Orders{Version: s.version, Rules: []fault.Rule{}}
	for _, a := range s.active {
		if covers(a.rule.Target, name) {
			o.Rules = append(o.Rules, a.rule)
		}
	}
	return o
}

// push tells a service the rules in force, over HTTP like all that services are
// told: one in a process of its own would hear of them in the same way. A stopped
// service gets them at its start, so one that has been stopped meanwhile is no
// error.
func (s *Shop) push(target *replica) error {
	if !target.running() {
		return nil
	}
	body, err := json.Marshal(s.orders(target.Name))
	if err != nil {
		return err
	}
	err = s.put("http://"+target.addr+"/_control/faults", body)
	if !target.running() {
		return nil
	}
	return err
}

// put sends a body with the secret of this run, within one second. There is no
// breaker here and no retry of what was answered: faults leave this path alone, and
// a visitor who presses a button wants to hear at once that it did not work.
func (s *Shop) put(url string, body []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set(wire.HeaderSecret, s.secret)
	// Said twice it is the same, so net/http may say it again, on a new connection,
	// if the kept one is of before a restart. An empty key is not sent.
	req.Header["Idempotency-Key"] = []string{}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("PUT %s: %s", url, resp.Status)
	}
	return nil
}

// faulty reports whether a fault is in force.
func (s *Shop) faulty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active) > 0
}

// report tells the collector which faults are in force, and what has changed: all
// of them every time, since a list of changes goes wrong with the first that is
// missed.
func (s *Shop) report(why string) {
	s.mu.Lock()
	faults := make([]collect.Fault, 0, len(s.active))
	for _, a := range s.active {
		faults = append(faults, collect.Fault{
			ID: a.rule.ID, Target: a.rule.Where(), Kind: a.rule.Kind, Text: a.rule.String(), Since: a.since.UnixMilli(),
		})
	}
	s.mu.Unlock()
	s.collector.SetFaults(faults, why)
	for _, r := range s.all() {
		r.nudge()
	}
}

// StopService stops a service: what runs may finish, new connections are refused.
// It is said to be stopped when it is: until then its callers may still be served.
func (s *Shop) StopService(name string) error {
	r, err := s.replica(name)
	if err != nil {
		return err
	}
	r.stop(s.ctx)
	s.collector.SetService(name, "stopped", r.addr, 0)
	r.nudge()
	return nil
}

// KillService ends a service at once: what runs is cut. In one process that is as
// near to SIGKILL as it gets; what a crash leaves half written, the stores' own tests
// show.
func (s *Shop) KillService(name string) error {
	r, err := s.replica(name)
	if err != nil {
		return err
	}
	now, cancel := context.WithCancel(s.ctx)
	cancel()
	r.stop(now)
	s.collector.SetService(name, "stopped", r.addr, 0)
	r.nudge()
	return nil
}

// StartService starts a stopped service at its old address, with its stores and the
// faults that are in force for it.
func (s *Shop) StartService(name string) error {
	r, err := s.replica(name)
	if err != nil {
		return err
	}
	if err := r.start(); err != nil {
		return err
	}
	// A fault that was asked for after the start had read the rules, and before
	// the service ran, has reached nobody.
	if err := s.push(r); err != nil {
		return err
	}
	s.collector.SetService(name, s.health(r.addr), r.addr, r.pid()) // the next check may be ten seconds off
	r.nudge()                                                       // it may not be ready yet
	return nil
}

// RestartService stops a service and starts it again.
//
// It is no atomic step. Whoever starts the service between the two halves has
// done what this would have done.
func (s *Shop) RestartService(name string) error {
	if err := s.StopService(name); err != nil {
		return err
	}
	return s.StartService(name)
}

// StartScenario runs a script in the background; one at a time.
func (s *Shop) StartScenario(script scenario.Script) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errEnded
	}
	if s.scenario != nil {
		return fmt.Errorf("%w: %s", ErrBusy, s.scenario.name)
	}
	if err := s.config.Serves(script); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	run := &runningScenario{name: script.Name, cancel: cancel, done: make(chan struct{})}
	s.scenario = run
	s.wg.Go(func() {
		defer close(run.done)
		defer cancel(nil)
		_, _ = scenario.Run(ctx, s, script, scenario.Options{Settle: true}) // its end is reported by Progress
		s.mu.Lock()
		s.scenario = nil
		s.mu.Unlock()
	})
	return nil
}

// StopScenario ends the scenario that runs and waits until it is over.
func (s *Shop) StopScenario(name string) error {
	// The lock is not held while waiting: the run takes it to end.
	s.mu.Lock()
	run := s.scenario
	s.mu.Unlock()
	if run == nil || run.name != name {
		return fmt.Errorf("scenario %q is not running", name)
	}
	run.cancel(errors.New("stopped by hand"))
	<-run.done
	return nil
}
