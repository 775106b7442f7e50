//go:build unix

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// group is the processes of one run of a server.
//
// A process group alone is not enough to hold them: each backend of Postgres and
// each helper of Erlang leaves it with setsid. The tree below the commands finds
// those, but only as long as their parents live. So the group works with both:
// it freezes the tree first and then deals with every member by its pid.
type group struct {
	guard    *guard
	children []*child
	frozen   []process // while paused
}

// newGroup makes an empty group with a guard.
func newGroup() (*group, error) {
	guard, err := startGuard()
	if err != nil {
		return nil, fmt.Errorf("engine: start the guard: %w", err)
	}
	return &group{guard: guard}, nil
}

// start starts a command in the group, as the account. The last command started
// is the main one.
func (g *group) start(cmd *exec.Cmd, as *account) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: g.guard.id(), Credential: as.credential()}
	child, err := startChild(cmd)
	if err != nil {
		return err
	}
	g.children = append(g.children, child)
	return nil
}

// main is the server's own process.
func (g *group) main() *child { return g.children[len(g.children)-1] }

// pause stops every process. The guard has to go on, or nobody would end the
// stopped ones if this program died now.
func (g *group) pause() error {
	frozen, err := g.freeze()
	g.frozen = frozen
	return errors.Join(err, g.guard.watch(frozen))
}

// resume lets every process go on that pause has stopped, leaves first: the
// server then finds its helpers at work.
func (g *group) resume() error {
	if g.frozen == nil {
		return nil
	}
	for _, p := range slices.Backward(g.frozen) {
		p.signal(syscall.SIGCONT)
	}
	g.frozen = nil
	return g.guard.watch(nil)
}

// stop sends the signal to the main process and waits for its end, then ends
// what it left behind. It reports whether the group is at its end.
func (g *group) stop(ctx context.Context, sig syscall.Signal) (ended bool, err error) {
	if err := g.resume(); err != nil {
		return false, err
	}
	family, err := g.tree()
	if err != nil {
		return false, err
	}
	if err := g.main().cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, err
	}
	err = g.main().wait(ctx)
	if !g.main().gone() {
		return false, err
	}
	return true, errors.Join(err, g.end(family))
}

// kill ends every process and waits until all are gone.
func (g *group) kill() error {
	family, err := g.freeze()
	return errors.Join(err, g.end(family))
}

// end kills the family and the group, and waits for them. Of the family only
// those are left that still exist: after a graceful end the numbers of the
// others may be somebody else's.
func (g *group) end(family []process) error {
	all, err := processes()
	for _, p := range all {
		if slices.ContainsFunc(family, p.same) {
			p.signal(syscall.SIGKILL)
		}
	}
	err = errors.Join(err, g.guard.end()) // takes the group with it
	for _, c := range g.children {
		<-c.exited
	}
	return errors.Join(err, awaitGone(family))
}

// tree is the commands and all their descendants, parents first.
func (g *group) tree() ([]process, error) {
	all, err := processes()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var tree []process
	for _, p := range all {
		if slices.ContainsFunc(g.children, func(c *child) bool { return c.cmd.Process.Pid == p.pid && !c.gone() }) {
			tree = append(tree, p)
		}
	}
	for i := 0; i < len(tree); i++ { // tree grows
		for _, p := range all {
			if p.parent == tree[i].pid {
				tree = append(tree, p)
			}
		}
	}
	return tree, nil
}

// freeze stops the tree and returns it. A process may fork until the signal
// reaches it, so it looks again until all that it sees stand still, and then
// once more: the first look may have listed the numbers before a process forked
// and read its state after it had stopped.
func (g *group) freeze() ([]process, error) {
	var tree []process
	still := 0
	err := poll("processes still run after SIGSTOP", func() (done bool, err error) {
		if tree, err = g.tree(); err != nil {
			return false, err
		}
		still++
		for _, p := range tree {
			if p.state != 'T' && p.state != 'Z' {
				p.signal(syscall.SIGSTOP)
				still = 0
			}
		}
		return still == 2, nil
	})
	return tree, err
}

// awaitGone waits until none of the processes exists. Those whose parent has
// died are reaped by another process at its leisure: a zombie counts as gone.
func awaitGone(family []process) error {
	return poll("processes still exist after SIGKILL", func() (bool, error) {
		all, err := processes()
		alive := slices.ContainsFunc(all, func(p process) bool {
			return p.state != 'Z' && slices.ContainsFunc(family, p.same)
		})
		return !alive, err
	})
}

// poll looks until the kernel has done what was asked of it, which it does in
// its own time and without telling. A process inside a system call on a busy
// disk can take seconds.
func poll(failure string, look func() (done bool, err error)) error {
	const patience, between = 20 * time.Second, time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(between) {
		if done, err := look(); done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s and %v", failure, patience)
		}
	}
}
