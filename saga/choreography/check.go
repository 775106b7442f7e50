package choreography

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check returns all that is wrong with the flow, joined into one error. One line in
// a test makes it a build gate. It finds:
//
//   - events that somebody consumes and nobody emits, and the other way round
//     unless they are Ends; refusals that nobody hears of
//   - two reactions of one participant to one event, a Compensates that names no
//     effect of the participant's own, a compensation with other than one outcome
//   - cycles: a conversation must end
//   - for each refusal, every effect that can exist in a conversation in which it
//     happens and that no compensation takes back which follows from it
//
// The last is a reachability analysis: from each start, with the refusing reaction
// reduced to that refusal, which effects can have come about? Each needs a
// compensation whose event is reachable from the refusal.
func (f Flow) Check() error {
	c := &checker{Flow: f, emitters: map[string][]string{}, consumers: map[string][]string{}}
	c.names()
	c.connect()
	c.compensations()
	if cycle := c.cycle(); cycle != nil {
		c.report("the events %s go round in a circle", strings.Join(cycle, " -> "))
	} else {
		c.refusals()
	}
	return errors.Join(c.findings...)
}

type checker struct {
	Flow
	findings  []error
	emitters  map[string][]string // participants, by event
	consumers map[string][]string
}

func (c *checker) report(format string, args ...any) {
	c.findings = append(c.findings, fmt.Errorf("choreography: "+c.Name+": "+format, args...))
}

func (c *checker) names() {
	if !validName(c.Name) {
		c.report("Name is %.80q: want what a topic may be, 1 to 200 of a-z A-Z 0-9 . _ -", c.Name)
	}
	seen := map[string]bool{}
	for _, p := range c.Participants {
		if !validName(p.Name) {
			c.report("a participant is called %.80q: want what a group may be, 1 to 200 of a-z A-Z 0-9 . _ -", p.Name)
		}
		if seen[p.Name] {
			c.report("two participants are called %s", p.Name)
		}
		seen[p.Name] = true
	}
}

func validName(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return false
		}
	}
	return name != "" && len(name) <= 200
}

// connect finds events without one end.
func (c *checker) connect() {
	failures := map[string]bool{}
	for _, p := range c.Participants {
		on := map[string]bool{}
		for _, e := range p.Starts {
			c.emitters[e] = append(c.emitters[e], p.Name)
		}
		for _, r := range p.Reactions {
			if on[r.On] {
				c.report("%s has two reactions to %s", p.Name, r.On)
			}
			on[r.On] = true
			c.consumers[r.On] = append(c.consumers[r.On], p.Name)
			for _, e := range r.outcomes() {
				c.emitters[e] = append(c.emitters[e], p.Name)
			}
			for _, e := range r.Fails {
				failures[e] = true
				if slices.Contains(r.Emits, e) {
					c.report("%s on %s has %s both in Emits and in Fails", p.Name, r.On, e)
				}
			}
		}
	}
	for _, e := range slices.Sorted(maps.Keys(c.consumers)) {
		if c.emitters[e] == nil {
			c.report("%s consumes %q, which nobody emits", strings.Join(c.consumers[e], ", "), e)
		}
	}
	for _, e := range slices.Sorted(maps.Keys(c.emitters)) {
		switch {
		case e == "":
			c.report("%s emits an event without a name", strings.Join(c.emitters[e], ", "))
		case c.consumers[e] != nil || slices.Contains(c.Ends, e):
		case failures[e]:
			c.report("nobody hears of the refusal %s by %s: consume it, or name it in Ends", e, strings.Join(c.emitters[e], ", "))
		default:
			c.report("%s emits %s, which nobody consumes: consume it, or name it in Ends", strings.Join(c.emitters[e], ", "), e)
		}
	}
	for _, e := range c.Ends {
		if c.emitters[e] == nil {
			c.report("Ends names %q, which nobody emits", e)
		}
	}
}

func (r Reaction) outcomes() []string { return slices.Concat(r.Emits, r.Fails) }

// effect is something that may have to be taken back, named by the event that says
// it is there. A reaction that emits nothing has a nameless one.
type effect struct{ participant, event, on string }

// own are the effects of a reaction.
func (r Reaction) effects(p Participant) (all []effect) {
	if r.NoEffect || r.Compensates != "" {
		return nil
	}
	for _, e := range r.Emits {
		all = append(all, effect{p.Name, e, r.On})
	}
	if len(r.outcomes()) == 0 {
		all = append(all, effect{p.Name, "", r.On})
	}
	return all
}

func (c *checker) compensations() {
	for _, p := range c.Participants {
		own := slices.Clone(p.Starts)
		for _, r := range p.Reactions {
			for _, e := range r.effects(p) {
				own = append(own, e.event)
			}
		}
		for _, r := range p.Reactions {
			switch {
			case r.Compensates == "":
				continue
			case !slices.Contains(own, r.Compensates):
				c.report("%s on %s compensates %q, which is no effect of its own: want one of %q", p.Name, r.On, r.Compensates, own)
			case len(r.Emits) != 1 || len(r.Fails) != 0:
				c.report("%s on %s compensates, with Emits %q and Fails %q: want exactly one event in Emits", p.Name, r.On, r.Emits, r.Fails)
			}
			if r.NoEffect {
				c.report("%s on %s compensates and has NoEffect", p.Name, r.On)
			}
		}
	}
}

// next are the events that follow from one. Only, if it is not nil, reduces one
// reaction to one outcome.
func (c *checker) next(event string, only *choice) (all []string) {
	for _, p := range c.Participants {
		for _, r := range p.Reactions {
			switch {
			case r.On != event:
			case only != nil && only.participant == p.Name && only.on == r.On:
				all = append(all, only.outcome)
			default:
				all = append(all, r.outcomes()...)
			}
		}
	}
	return all
}

type choice struct{ participant, on, outcome string }

func (c *checker) reach(from string, only *choice) map[string]bool {
	seen := map[string]bool{from: true}
	for todo := []string{from}; len(todo) > 0; {
		e := todo[0]
		todo = todo[1:]
		for _, n := range c.next(e, only) {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return seen
}

// cycle returns the events of one, or nil.
func (c *checker) cycle() []string {
	const entered, left = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(e string) []string
	visit = func(e string) []string {
		switch state[e] {
		case left:
			return nil
		case entered:
			return append(slices.Clone(path[slices.Index(path, e):]), e)
		}
		state[e] = entered
		path = append(path, e)
		for _, n := range c.next(e, nil) {
			if found := visit(n); found != nil {
				return found
			}
		}
		path = path[:len(path)-1]
		state[e] = left
		return nil
	}
	for _, e := range slices.Sorted(maps.Keys(c.emitters)) {
		if found := visit(e); found != nil {
			return found
		}
	}
	return nil
}

// refusals looks for effects that a failed conversation would leave behind.
func (c *checker) refusals() {
	missing := map[string]bool{}
	for _, p := range c.Participants {
		for _, r := range p.Reactions {
			for _, failure := range r.Fails {
				for _, e := range c.left(choice{p.Name, r.On, failure}) {
					missing[fmt.Sprintf("after %s, nothing takes back what %s did on %s", failure, e.participant, e.cause())] = true
				}
			}
		}
	}
	for _, finding := range slices.Sorted(maps.Keys(missing)) {
		c.report("%s", finding)
	}
}

func (e effect) cause() string {
	switch {
	case e.on == "":
		return "its own, " + e.event
	case e.event == "":
		return e.on + " (it emits nothing: nothing can name it)"
	default:
		return e.on + " (" + e.event + ")"
	}
}

// left are the effects that can exist in a conversation in which the refusal
// happens, and that no compensation behind it takes back.
func (c *checker) left(refusal choice) (all []effect) {
	behind := c.reach(refusal.outcome, nil)
	for _, starter := range c.Participants {
		for _, start := range starter.Starts {
			seen := c.reach(start, &refusal)
			if !seen[refusal.outcome] || !seen[refusal.on] {
				continue // it does not happen in these
			}
			exist := []effect{{starter.Name, start, ""}}
			for _, p := range c.Participants {
				for _, r := range p.Reactions {
					if seen[r.On] && (p.Name != refusal.participant || r.On != refusal.on) {
						exist = append(exist, r.effects(p)...)
					}
				}
			}
			for _, e := range exist {
				if !c.takenBack(e, behind) {
					all = append(all, e)
				}
			}
		}
	}
	return all
}

// takenBack: the participant has a compensation for it whose event is reachable.
func (c *checker) takenBack(e effect, behind map[string]bool) bool {
	for _, p := range c.Participants {
		if p.Name != e.participant {
			continue
		}
		for _, r := range p.Reactions {
			if r.Compensates == e.event && e.event != "" && behind[r.On] {
				return true
			}
		}
	}
	return false
}
