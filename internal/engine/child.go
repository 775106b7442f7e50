package engine

import (
	"context"
	"os/exec"
)

// child is a process that was started here. A goroutine of its own waits for it
// and ends with it.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // how it ended; valid once exited is closed
}

func startChild(cmd *exec.Cmd) (*child, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(c.exited)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// gone reports whether the process has ended.
func (c *child) gone() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// wait returns how the process ended, or the context's cause if it has not.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.exited:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
