package wire

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// This file is what the control process may do to a node, under /_control. Faults
// pass it by.

// ForControl is Handler for control alone: without the secret of this run the path
// does not exist.
func (n *Node) ForControl(fn func(http.ResponseWriter, *http.Request) error) http.Handler {
	return Handler(func(w http.ResponseWriter, r *http.Request) error {
		if !SecretMatches(r, n.config.Secret) {
			return NewProblem(http.StatusNotFound, "not-found", "no such path")
		}
		return fn(w, r)
	})
}

// errByHand is the cause of a breaker that somebody has opened.
var errByHand = errors.New("opened by hand")

// steerBreakers trips, resets, holds open or releases the breakers of a callee, or of
// one instance of it.
func (n *Node) steerBreakers(w http.ResponseWriter, r *http.Request) error {
	callee, action := r.PathValue("callee"), r.PathValue("action")
	steered := []string{}
	for service, c := range n.clients {
		for _, i := range c.balancer.instances() {
			if i.Name != callee && service != callee {
				continue
			}
			if err := i.steer(action, n.config.Settings.OpenFor); err != nil {
				return err
			}
			steered = append(steered, n.config.Name+"/"+i.Name)
		}
	}
	if len(steered) == 0 {
		return Invalid(n.config.Name + " does not call " + callee)
	}
	return WriteJSON(w, http.StatusOK, map[string]any{"breakers": steered, "done": action})
}

func (i *instance) steer(action string, open time.Duration) error {
	switch action {
	case "trip":
		i.breaker.Trip(open, errByHand)
	case "reset":
		i.breaker.Reset()
	case "hold":
		release := i.breaker.Hold(breaker.Open)
		if before := i.held.Swap(&release); before != nil {
			(*before)()
		}
	case "release":
		if before := i.held.Swap(nil); before != nil {
			(*before)()
		}
	default:
		return Invalid("no action " + action + "; there are: trip, reset, hold, release")
	}
	return nil
}

// SwitchOrders are the switches of the shop as of one moment: "on" or "off" by
// name. Every change has a higher version, as with faults.
type SwitchOrders struct {
	Version uint64            `json:"version"`
	Values  map[string]string `json:"values"`
}

// On reports whether a switch is on. One that nobody has set is as it was made:
// patterns on, anti-patterns off, which is what absent says here.
func (n *Node) On(name string, absent bool) bool {
	orders := n.switches.Load()
	if orders == nil || orders.Values[name] == "" {
		return absent
	}
	return orders.Values[name] == "on"
}

// obeySwitches puts the switches in force, unless newer ones are.
func (n *Node) obeySwitches(o SwitchOrders) {
	for {
		now := n.switches.Load()
		if now != nil && o.Version < now.Version || n.switches.CompareAndSwap(now, &o) {
			return
		}
	}
}

// setSwitches takes the switches from control.
func (n *Node) setSwitches(w http.ResponseWriter, r *http.Request) error {
	body, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	var orders SwitchOrders
	if err := json.Unmarshal(body, &orders); err != nil {
		return NewProblem(http.StatusBadRequest, "malformed", err.Error())
	}
	n.obeySwitches(orders)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
