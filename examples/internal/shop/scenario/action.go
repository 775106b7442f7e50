package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
)

// Action is what a step does. Which fields are set depends on Verb.
type Action struct {
	Verb   string     // one of Verbs
	Target string     // clear, kill, stop, start, restart; scale: the service; set: the switch; buy: the SKU; send: the topic
	Fault  fault.Rule // fault
	Value  string     // set, send
	N      int        // load, scale, shards; buy: the buyers
	Stock  int        // buy
}

// verbs are the words that an action can begin with, and how the rest is read.
var verbs = []struct {
	name  string
	usage string
	parse func(a *Action, words []string) error
	args  int // exactly so many words follow; -1 lets parse decide
}{
	{"fault", "a target and a kind", parseFault, -1},
	{"clear", "one target", parseTarget, 1},
	{"kill", "one target", parseTarget, 1},
	{"stop", "one target", parseTarget, 1},
	{"start", "one target", parseTarget, 1},
	{"restart", "one target", parseTarget, 1},
	{"scale", "a service and a number", parseScale, 2},
	{"set", "a switch and a value", parseSet, 2},
	{"load", "one number of requests per second", parseLoad, 1},
	{"shards", "one number", parseShards, 1},
	{"buy", "a SKU, buyers and stock", parseBuy, 3},
	{"send", "a topic and a body", parseSend, -1},
}

func verbNames() string {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func parseAction(words []string) (a Action, err error) {
	if len(words) == 0 {
		return a, errors.New("want an action: " + verbNames())
	}
	for _, v := range verbs {
		if v.name != words[0] {
			continue
		}
		if args := len(words) - 1; v.args >= 0 && args != v.args || args == 0 {
			return a, fmt.Errorf("%q: want %s", v.name, v.usage)
		}
		a.Verb = v.name
		return a, v.parse(&a, words[1:])
	}
	return a, fmt.Errorf("%q: want %s", words[0], verbNames())
}

func parseFault(a *Action, words []string) (err error) {
	if len(words) < 2 {
		return errors.New(`"fault": want a target and a kind`)
	}
	a.Fault, err = fault.Parse(words[0], words[1:])
	return err
}

// parseTarget: whether the target exists is known to whoever runs the script.
func parseTarget(a *Action, words []string) error {
	a.Target = words[0]
	return nil
}

func parseScale(a *Action, words []string) (err error) {
	a.Target = words[0]
	a.N, err = parseCount(words[1], 1, 5)
	return err
}

func parseSet(a *Action, words []string) error {
	a.Target, a.Value = words[0], words[1]
	return CheckSwitch(a.Target, a.Value)
}

func parseLoad(a *Action, words []string) (err error) {
	a.N, err = parseRPS(words)
	return err
}

func parseShards(a *Action, words []string) (err error) {
	a.N, err = parseCount(words[0], 1, 16)
	return err
}

func parseBuy(a *Action, words []string) (err error) {
	a.Target = words[0]
	if a.N, err = parseCount(words[1], 1, 2000); err != nil {
		return err
	}
	a.Stock, err = parseCount(words[2], 0, 1_000_000)
	return err
}

// parseSend takes the rest of the line as the body, a JSON document or any text.
func parseSend(a *Action, words []string) error {
	if len(words) < 2 {
		return errors.New(`"send": want a topic and a body`)
	}
	a.Target, a.Value = words[0], strings.Join(words[1:], " ")
	return nil
}

// Switches are the patterns that can be switched off, and the anti-patterns that
// can be switched on, while the shop runs. The value is what they start with.
func Switches() map[string]string {
	return map[string]string{
		"breakers": "on", "retries": "on", "budget": "on", "l1": "on", "l2": "on", "query-cache": "on", "coalescing": "on",
		"chatty": "off", "sync-mail": "off", "replica-lag": "off",
	}
}

// SwitchNames lists the switches in the order in which they are shown.
func SwitchNames() []string {
	return []string{"breakers", "retries", "budget", "l1", "l2", "query-cache", "coalescing", "chatty", "sync-mail", "replica-lag"}
}

// CheckSwitch returns an error that says what is allowed.
func CheckSwitch(name, value string) error {
	if !slices.Contains(SwitchNames(), name) {
		return fmt.Errorf("%q: want a switch: %s", name, strings.Join(SwitchNames(), ", "))
	}
	if value != "on" && value != "off" {
		return fmt.Errorf("%q: want on or off", value)
	}
	return nil
}
