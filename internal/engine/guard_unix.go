//go:build unix

package engine

import (
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// guard leads a process group and ends it when this program dies, however it
// dies: then the kernel closes the pipe that the guard reads from. It is a shell
// of three lines.
//
// Linux alone could do that without a guard, by a parent death signal. But that
// one fires when the thread dies that made the process, does not pass to a
// process's children, and so leaves the backends of a paused Postgres stopped
// for ever.
type guard struct {
	shell *child
	life  io.WriteCloser
}

// Each line names the stopped processes that have left the group. At the end of
// the input those are killed and, by pid 0, the group with the guard itself.
// When this program dies the group is orphaned; if some of it is stopped, the
// kernel then sends SIGHUP to all of it, which must not end the guard first.
const guardScript = `trap '' HUP
while read -r line; do stopped=$line; done
kill -KILL $stopped 0`

func startGuard() (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript)
	cmd.Env = []string{"stopped="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	shell, err := startChild(cmd)
	if err != nil {
		return nil, err
	}
	return &guard{shell: shell, life: life}, nil
}

// id is that of the process group.
func (g *guard) id() int { return g.shell.cmd.Process.Pid }

// watch tells the guard which processes to kill beside the group.
func (g *guard) watch(family []process) error {
	var line strings.Builder
	for _, p := range family {
		line.WriteString(strconv.Itoa(p.pid) + " ")
	}
	_, err := io.WriteString(g.life, line.String()+"\n")
	return err
}

// end kills the group, the guard with it. As long as the guard has not been
// reaped, its pid cannot name another group.
func (g *guard) end() error {
	if g.shell.gone() {
		return nil
	}
	err := syscall.Kill(-g.id(), syscall.SIGKILL)
	<-g.shell.exited // which also closes the pipe
	return err
}
