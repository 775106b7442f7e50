package saga

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Step is one local transaction and what takes it back. Both calls may run more
// than once under the same [Call.Key]: whoever they call deduplicates by it, with
// package barrier or an idempotency key.
type Step[S any] struct {
	// Name is unique in the definition: letters, digits, '.', '_', '-', at most
	// 64 bytes.
	Name string

	// Do is required. Its result says what happened: nil is done; [Refuse] had no
	// effect; [Await] and [Sleep] park the step; any other error, a time-out, a
	// panic or a Goexit may have had an effect, and is retried. It must not return
	// with its goroutine locked to a thread: other sagas run there next.
	Do func(ctx context.Context, s *S) error

	// Undo takes Do back. It must accept that nothing happened, since an attempt
	// whose outcome is unknown is undone too. Nil means there is nothing to undo.
	Undo func(ctx context.Context, s *S) error

	// After names the steps to wait for. Nil means the step before; empty but not
	// nil means none.
	After []string

	// Pivot: once it is done, the saga only goes forward. Its Undo then serves
	// [Saga.Reverse] alone.
	Pivot bool

	// Timeout of one attempt, of Do and of Undo. Zero means 1 minute, negative none.
	Timeout time.Duration

	// Retry of Do, and UndoRetry of Undo, are counted apart.
	Retry, UndoRetry Retry

	sub *subStep // set by Sub
}

// Definition is a saga's steps, checked and frozen by [Register]. S travels as
// JSON: only what it encodes lives from step to step.
type Definition[S any] struct {
	// Name is made as a step's.
	Name string

	// Version is raised when a step's name, its order, the pivot or whether it has
	// an Undo changes. Zero means 1.
	Version int

	// ResumesFrom lists older versions whose unfinished sagas this code continues.
	ResumesFrom []int

	// Deadline counts from the start. Reached before the pivot is done (without a
	// pivot: before the last Do), it compensates. Zero means none.
	Deadline time.Duration

	// Steps are 1 to 256.
	Steps []Step[S]
}

// graph is a definition without its type: what the core needs to decide.
type graph struct {
	name     string
	version  int
	resumes  []int
	deadline time.Duration
	shape    string
	words    string // outline
	first    string // a step that may begin
	nodes    []node
	pivot    int  // index, or -1
	chain    bool // each step waits for the one before
}

type node struct {
	name    string
	hasUndo bool
	pivot   bool
	before  bool // of the pivot: may be undone by a turn. All are, without a pivot
	after   []int
	next    []int // who waits for it
	below   []int // who waits for it, directly or not
	timeout time.Duration
	retry   Retry
	undo    Retry
}

func (g *graph) index(step string) int {
	return slices.IndexFunc(g.nodes, func(n node) bool { return n.name == step })
}

// compile checks d and reports all findings in one error.
func compile[S any](d Definition[S]) (*graph, error) {
	g := &graph{name: d.Name, version: cmp.Or(d.Version, 1), resumes: slices.Clone(d.ResumesFrom), deadline: d.Deadline, pivot: -1}
	var bad []error
	report := func(format string, args ...any) { bad = append(bad, fmt.Errorf("saga: "+format, args...)) }
	if !validName(d.Name) {
		report("Name is %.80q: want 1 to 64 letters, digits, '.', '_', '-'", d.Name)
	}
	if d.Version < 0 {
		report("Version is %d: want zero, which means 1, or more", d.Version)
	}
	for i, v := range d.ResumesFrom {
		if v < 1 || v >= g.version {
			report("ResumesFrom[%d] is %d: want 1 to %d, below Version", i, v, g.version-1)
		}
	}
	if d.Deadline < 0 {
		report("Deadline is %v: want zero, which means none, or more", d.Deadline)
	}
	if len(d.Steps) < 1 || len(d.Steps) > 256 {
		report("Steps has %d entries: want 1 to 256", len(d.Steps))
	}
	var zero S
	if _, err := json.Marshal(zero); err != nil {
		report("%T does not encode: %w", zero, err)
	}
	for i, s := range d.Steps {
		field := fmt.Sprintf("Steps[%d] (%.64s)", i, s.Name)
		if !validName(s.Name) {
			report("%s: Name is %.80q: want 1 to 64 letters, digits, '.', '_', '-'", field, s.Name)
		} else if g.index(s.Name) >= 0 {
			report("%s: Name is taken by a step before", field)
		}
		if s.Do == nil {
			report("%s: Do is nil", field)
		}
		if s.Pivot && g.pivot >= 0 {
			report("%s: Pivot is set, and %s is the pivot", field, g.nodes[g.pivot].name)
		} else if s.Pivot {
			g.pivot = i
		}
		for name, r := range map[string]Retry{"Retry": s.Retry, "UndoRetry": s.UndoRetry} {
			if r.Base < 0 || r.Cap < 0 {
				report("%s: %s has Base %v and Cap %v: want zero or more", field, name, r.Base, r.Cap)
			}
		}
		timeout := s.Timeout
		if timeout == 0 {
			timeout = time.Minute
		}
		g.nodes = append(g.nodes, node{name: s.Name, hasUndo: s.Undo != nil, pivot: s.Pivot, timeout: max(timeout, 0)})
	}
	for i, s := range d.Steps {
		if err := g.link(i, s.After); err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	if step := g.cyclic(); step != "" {
		return nil, fmt.Errorf("saga: After is cyclic at step %s", step)
	}
	if err := g.placePivot(); err != nil {
		return nil, err
	}
	for i, s := range d.Steps {
		n := &g.nodes[i]
		n.retry, n.undo = s.Retry.resolved(!n.before), s.UndoRetry.resolved(true)
		for j, below := range g.reach(i, func(n node) []int { return n.next }) {
			if below {
				n.below = append(n.below, j)
			}
		}
	}
	g.shape, g.words = g.hash(), g.outline()
	g.first = newMachine(g, "").first()
	return g, nil
}

func (g *graph) link(i int, after []string) error {
	g.chain = i == 0 || g.chain
	if after == nil && i > 0 {
		after = []string{g.nodes[i-1].name}
	}
	for _, name := range after {
		j := g.index(name)
		if j < 0 {
			return fmt.Errorf("saga: Steps[%d] (%s): After names %.80q, which is no step", i, g.nodes[i].name, name)
		}
		if slices.Contains(g.nodes[i].after, j) {
			continue
		}
		g.nodes[i].after = append(g.nodes[i].after, j)
		g.nodes[j].next = append(g.nodes[j].next, i)
	}
	if i > 0 && !(len(g.nodes[i].after) == 1 && g.nodes[i].after[0] == i-1) {
		g.chain = false
	}
	return nil
}

// cyclic returns a step that waits for itself, or "".
func (g *graph) cyclic() string {
	open := make([]int, len(g.nodes))
	var free []int
	for i, n := range g.nodes {
		if open[i] = len(n.after); open[i] == 0 {
			free = append(free, i)
		}
	}
	for ; len(free) > 0; free = free[1:] {
		for _, j := range g.nodes[free[0]].next {
			if open[j]--; open[j] == 0 {
				free = append(free, j)
			}
		}
	}
	for i, n := range open {
		if n > 0 {
			return g.nodes[i].name
		}
	}
	return ""
}

// placePivot finds out which steps come before the pivot. Each must come before
// or behind: one beside it could be undone or not, as the clock falls.
func (g *graph) placePivot() error {
	for i := range g.nodes {
		g.nodes[i].before = true
	}
	if g.pivot < 0 {
		return nil
	}
	before := g.reach(g.pivot, func(n node) []int { return n.after })
	behind := g.reach(g.pivot, func(n node) []int { return n.next })
	for i := range g.nodes {
		g.nodes[i].before = before[i]
		if i != g.pivot && !before[i] && !behind[i] {
			return fmt.Errorf("saga: step %s is neither before nor behind the pivot %s", g.nodes[i].name, g.nodes[g.pivot].name)
		}
	}
	return nil
}

func (g *graph) reach(from int, edges func(node) []int) []bool {
	seen := make([]bool, len(g.nodes))
	for todo := []int{from}; len(todo) > 0; {
		i := todo[0]
		todo = todo[1:]
		for _, j := range edges(g.nodes[i]) {
			if !seen[j] {
				seen[j] = true
				todo = append(todo, j)
			}
		}
	}
	return seen
}

// hash covers what a log depends on: names, order, pivot, and which steps have an
// Undo.
func (g *graph) hash() string {
	type shape struct {
		Name  string
		Undo  bool
		Pivot bool
		After []int
	}
	all := make([]shape, 0, len(g.nodes))
	for _, n := range g.nodes {
		after := slices.Clone(n.after)
		slices.Sort(after)
		all = append(all, shape{n.name, n.hasUndo, n.pivot, after})
	}
	text, _ := json.Marshal(all) // strings, booleans and numbers always encode
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// outline is the structure in words, for a log to be continued by another version:
// "reserve+ pay+! ship", + for an Undo and ! for the pivot.
func (g *graph) outline() string {
	var b strings.Builder
	for i, n := range g.nodes {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(n.name)
		if n.hasUndo {
			b.WriteByte('+')
		}
		if n.pivot {
			b.WriteByte('!')
		}
	}
	return b.String()
}

// continues tells whether a log of another outline, folded into m, can go on here:
// each step that it names is here with the Undo it had, and no new step comes
// before one that is done.
func (g *graph) continues(outline string, m *machine) error {
	if outline == g.words {
		return nil
	}
	old := map[string]string{}
	for word := range strings.FieldsSeq(outline) {
		name := strings.TrimRight(word, "+!")
		old[name] = word[len(name):]
	}
	for i, n := range g.nodes {
		marks, known := old[n.name]
		s := m.steps[i]
		touched := s.status != idle || s.tainted
		switch {
		case known && touched && strings.Contains(marks, "+") != n.hasUndo:
			return fmt.Errorf("saga: step %s has lost or gained its Undo", n.name)
		case known && touched && strings.Contains(marks, "!") != n.pivot:
			return fmt.Errorf("saga: step %s has become the pivot, or is it no longer", n.name)
		case known:
			continue
		}
		for _, j := range n.below {
			if m.steps[j].status == done {
				return fmt.Errorf("saga: new step %s comes before %s, which is done", n.name, g.nodes[j].name)
			}
		}
	}
	return nil
}
