package page

// This file is the visitor's hand in the shop: the actions under /control. What
// guards them against other hands stands in page.go.

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// control adapts an action. Its errors are about what was asked for: a 422 that
// says what is allowed. Methods and paths are those of REST where an action has a
// thing to act on, a fault or a scenario; to stop and to start are verbs, and stay
// verbs in the path.
func control(fn func(w http.ResponseWriter, r *http.Request) (any, error)) http.Handler {
	return wire.Handler(func(w http.ResponseWriter, r *http.Request) error {
		changed, err := fn(w, r)
		if _, ok := errors.AsType[*wire.Problem](err); ok {
			return err
		}
		if err != nil {
			return wire.Invalid(err.Error())
		}
		return wire.WriteJSON(w, http.StatusOK, changed)
	})
}

// routeControl adds the actions. Each answers with what changed.
//
// The answers are small and name the thing, not the state that follows: that comes
// by the stream, to this visitor and to all others at once.
func routeControl(mux *http.ServeMux, shop Shop) {
	mux.Handle("GET /control/faults", control(func(http.ResponseWriter, *http.Request) (any, error) {
		return shop.State().Faults, nil
	}))
	mux.Handle("POST /control/faults", control(func(w http.ResponseWriter, r *http.Request) (any, error) {
		return addFault(shop, w, r)
	}))
	mux.Handle("DELETE /control/faults/{id}", control(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		id := r.PathValue("id")
		return map[string]string{"cleared": id}, shop.ClearFault(id)
	}))
	mux.Handle("DELETE /control/faults", control(func(http.ResponseWriter, *http.Request) (any, error) {
		return map[string]string{"cleared": "all"}, shop.Clear("all")
	}))
	mux.Handle("POST /control/services/{name}/{action}", control(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return steer(shop, r.PathValue("name"), r.PathValue("action"))
	}))
	mux.Handle("POST /control/scale", control(func(w http.ResponseWriter, r *http.Request) (any, error) {
		return scale(shop, w, r)
	}))
	mux.Handle("POST /control/load", control(func(w http.ResponseWriter, r *http.Request) (any, error) {
		return setLoad(shop, w, r)
	}))
	mux.Handle("POST /control/switches/{name}", control(func(w http.ResponseWriter, r *http.Request) (any, error) {
		return setSwitch(shop, w, r)
	}))
	mux.Handle("POST /control/send", control(func(w http.ResponseWriter, r *http.Request) (any, error) {
		return sendMessage(shop, w, r)
	}))
	routeShards(mux, shop)
	mux.Handle("GET /control/scenarios", control(func(http.ResponseWriter, *http.Request) (any, error) {
		return listScenarios()
	}))
	mux.Handle("POST /control/scenarios/{name}", control(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return startScenario(shop, r.PathValue("name"))
	}))
	mux.Handle("DELETE /control/scenarios/{name}", control(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		name := r.PathValue("name")
		return map[string]string{"stopped": name}, shop.StopScenario(name)
	}))
}

// addFault takes {target, kind, ...}, each member a word of the scenario files: one
// language, read by one parser, so that what works by hand works in a script.
func addFault(shop Shop, w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Target string `json:"target"`
		Kind   string `json:"kind"`
		Jitter string `json:"jitter"`
		Status string `json:"status"`
		Path   string `json:"path"`
		Calls  string `json:"calls"`
		For    string `json:"for"`
	}
	if err := wire.Decode(w, r, &in, "target", "kind", "jitter", "status", "path", "calls", "for"); err != nil {
		return nil, err
	}
	// Options in one order, whatever the body's was: Parse wants the kind first, and
	// a map would make its errors depend on chance.
	words := []string{in.Kind}
	for _, option := range [][2]string{{"jitter", in.Jitter}, {"status", in.Status}, {"path", in.Path}, {"calls", in.Calls}, {"for", in.For}} {
		if option[1] != "" {
			words = append(words, option[0]+"="+option[1])
		}
	}
	rule, err := fault.Parse(in.Target, words)
	if err != nil {
		return nil, err
	}
	rule, err = shop.Inject(rule)
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": rule.ID, "target": rule.Where(), "fault": rule.String()}, nil
}

// steer kills, stops, starts or restarts a service. To stop one that is stopped is
// no error: a visitor says what he wants, not what is to be done.
func steer(shop Shop, name, action string) (any, error) {
	actions := map[string]func(string) error{
		"kill": shop.KillService, "stop": shop.StopService, "start": shop.StartService, "restart": shop.RestartService,
	}
	act, ok := actions[action]
	if !ok {
		return nil, wire.Invalid("no action " + action + "; there are: kill, stop, start, restart")
	}
	return map[string]string{"service": name, "done": action}, act(name)
}

// scale takes {service, n}.
func scale(shop Shop, w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Service string `json:"service"`
		N       int    `json:"n"`
	}
	if err := wire.Decode(w, r, &in, "service", "n"); err != nil {
		return nil, err
	}
	if in.N < 1 || in.N > 5 {
		return nil, wire.Invalid("n must be a number from 1 to 5", "n")
	}
	return in, shop.Scale(in.Service, in.N)
}

// setLoad takes {rps, mix}, both optional. A pointer tells an absent rate from a
// zero, which is a rate like any other.
func setLoad(shop Shop, w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		RPS *int     `json:"rps"`
		Mix load.Mix `json:"mix"`
	}
	if err := wire.Decode(w, r, &in, "rps", "mix"); err != nil {
		return nil, err
	}
	rps, mix := shop.Load()
	if in.RPS != nil {
		rps = *in.RPS
	}
	// Refused and not brought into range, although the load would do that: a visitor
	// who asks for 5,000 and gets 2,000 measures something else than he thinks.
	if in.RPS == nil && in.Mix == nil || rps < 0 || rps > 2000 {
		return nil, wire.Invalid("rps must be a number from 0 to 2000", "rps")
	}
	if in.Mix != nil {
		if err := in.Mix.Validate(); err != nil {
			return nil, wire.Invalid(err.Error(), "mix")
		}
		mix = in.Mix
	}
	shop.SetLoad(rps, in.Mix)
	return map[string]any{"rps": rps, "mix": mix}, nil
}

// setSwitch takes {value}.
func setSwitch(shop Shop, w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Value string `json:"value"`
	}
	if err := wire.Decode(w, r, &in, "value"); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	return map[string]string{"switch": name, "value": in.Value}, shop.SetSwitch(name, in.Value)
}

// sendMessage takes {topic, body} and publishes it, as "send" does in a script.
func sendMessage(shop Shop, w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Topic string `json:"topic"`
		Body  string `json:"body"`
	}
	if err := wire.Decode(w, r, &in, "topic", "body"); err != nil {
		return nil, err
	}
	if in.Topic == "" {
		return nil, wire.Invalid("topic is missing", "topic")
	}
	_, err := shop.Do(r.Context(), scenario.Action{Verb: "send", Target: in.Topic, Value: in.Body})
	return map[string]string{"sent": in.Topic}, err
}

// startScenario starts one of those that come with the shop: a name from the
// network must not open files.
func startScenario(shop Shop, name string) (any, error) {
	if !slices.Contains(scenario.Names(), name) {
		return nil, wire.Invalid(fmt.Sprintf("no scenario %q; there are: %s", name, strings.Join(scenario.Names(), ", ")))
	}
	script, err := scenario.Load(name)
	if err != nil {
		return nil, err
	}
	return map[string]string{"started": name}, shop.StartScenario(script)
}

// listScenarios answers with names and texts: what a script will do can be read
// before it is run.
func listScenarios() (any, error) {
	type entry struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	var out []entry
	for _, name := range scenario.Names() {
		s, err := scenario.Load(name)
		if err != nil {
			return nil, err
		}
		out = append(out, entry{name, s.Text})
	}
	return out, nil
}
