package wire

import (
	"encoding/json"
	"net/http"
)

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

// setSwitches takes the switches from control. Without the secret of this run the
// path does not exist.
func (n *Node) setSwitches(w http.ResponseWriter, r *http.Request) error {
	if !SecretMatches(r, n.config.Secret) {
		return NewProblem(http.StatusNotFound, "not-found", "no such path")
	}
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
