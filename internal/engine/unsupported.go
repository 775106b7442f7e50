//go:build !unix

package engine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
)

// group cannot be made here: without process groups and signals a server could
// not be killed whole, paused, or kept from outliving this program.
type group struct{ children []*child }

func newGroup() (*group, error) { return nil, errUnsupported() }

func (g *group) start(*exec.Cmd, *account) error                    { return errUnsupported() }
func (g *group) main() *child                                       { return g.children[0] }
func (g *group) pause() error                                       { return errUnsupported() }
func (g *group) resume() error                                      { return errUnsupported() }
func (g *group) stop(context.Context, syscall.Signal) (bool, error) { return false, errUnsupported() }
func (g *group) kill() error                                        { return errUnsupported() }

// account is never made either.
type account struct{}

func chooseAccount([]string) (*account, error) { return nil, errUnsupported() }
func (a *account) take(string) error           { return nil }

func errUnsupported() error {
	return fmt.Errorf("engine: starting servers on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
