package shop

import (
	"fmt"
	"strings"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
)

// covers reports whether a target means the replica of that name: itself, or all
// of its service.
func covers(target, replica string) bool {
	return replica == target || serviceOf(replica) == target
}

// serviceOf is the service that a replica belongs to: products of products-2.
func serviceOf(replica string) string {
	name, number, ok := strings.Cut(replica, "-")
	if ok && strings.Trim(number, "0123456789") == "" {
		return name
	}
	return replica
}

// targets returns the replicas that a target means.
func (s *Shop) targets(target string) (found []*replica, err error) {
	for _, r := range s.all() {
		if covers(target, r.Name) {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		_, err = FindService(target)
		if err == nil {
			err = fmt.Errorf("no replica of %s runs", target)
		}
	}
	return found, err
}

// targetsOf is targets of a rule, whose caller must exist too.
func (s *Shop) targetsOf(r fault.Rule) ([]*replica, error) {
	if r.Kind == fault.Crash && !s.config.Procs {
		return nil, fmt.Errorf("crash kills a process: want the flag -procs")
	}
	if r.Caller != "" {
		if _, err := s.targets(r.Caller); err != nil {
			return nil, err
		}
	}
	return s.targets(r.Target)
}

// replica returns the one of that name; of a service with one replica that is the
// service's own.
func (s *Shop) replica(name string) (*replica, error) {
	found, err := s.targets(name)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// CheckTargets returns an error that names the line in which a script wants
// something of a service that does not exist. A script knows no services, so that
// the same parser reads those of a larger shop; whoever runs it asks here, before
// ten seconds have gone by and the typing error shows.
func CheckTargets(script scenario.Script) error {
	for _, step := range script.Steps {
		for _, target := range named(step.Do) {
			if _, err := FindService(serviceOf(target)); err != nil {
				return fmt.Errorf("%s, line %d: %w", script.Name, step.Line, err)
			}
		}
		if step.Do.Verb == "shards" {
			return fmt.Errorf("%s, line %d: shards: this shop cannot move its users to other shards yet", script.Name, step.Line)
		}
	}
	return nil
}

// named are the services that an action needs.
func named(a scenario.Action) []string {
	switch a.Verb {
	case "fault":
		if a.Fault.Caller != "" {
			return []string{a.Fault.Caller, a.Fault.Target}
		}
		return []string{a.Fault.Target}
	case "clear":
		if a.Target == "all" {
			return nil
		}
		return []string{a.Target[strings.Index(a.Target, ">")+1:]}
	case "kill", "stop", "start", "restart", "scale":
		return []string{a.Target}
	case "buy":
		return []string{"inventory", "payments"}
	case "send":
		return []string{"broker"}
	}
	return nil
}

// Serves returns an error that names a setting which the script needs and this
// shop does not have.
func (c Config) Serves(script scenario.Script) error {
	have := map[string]string{"saga": c.Saga, "mode": c.Mode, "procs": fmt.Sprint(c.Procs)}
	for name, value := range script.Needs {
		if have[name] != value {
			return fmt.Errorf("scenario %s needs -%s=%s", script.Name, name, value)
		}
	}
	return nil
}
