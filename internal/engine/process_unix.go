//go:build unix

package engine

import "syscall"

// process is one line of the process table.
type process struct {
	pid, parent int
	state       byte   // T is stopped, Z is a zombie
	born        string // when it started, in the system's own form
}

// same reports whether both are the same process, and not one that was given
// the number of another after its end.
func (p process) same(q process) bool { return p.pid == q.pid && p.born == q.born }

// signal sends a signal. That the process has gone in the meantime is no error
// to any caller.
func (p process) signal(sig syscall.Signal) { _ = syscall.Kill(p.pid, sig) }
