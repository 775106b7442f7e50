package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// site is where a server lives: its directory, ports, programs and account.
type site struct {
	dir       string
	temporary bool // made by us, to be removed
	ports     []port
	paths     map[string]string // of the binaries, by name
	account   *account          // nil is our own
}

// newSite finds the programs before anything is made, so that a missing one
// leaves no trace.
func newSite(r recipe, dir string) (*site, error) {
	s := &site{paths: make(map[string]string)}
	for _, b := range r.programs {
		path, err := b.find()
		if err != nil {
			return nil, err
		}
		s.paths[b.name] = path
	}
	var err error
	if s.account, err = chooseAccount(r.users); err != nil {
		return nil, err
	}
	if s.ports, err = reservePorts(r.ports); err != nil {
		return nil, err
	}
	if err = s.makeDir(r.name, dir); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// makeDir makes the directory and gives it to the account. The directory of
// testing.T.TempDir would not do: it lies below one that only its owner enters.
func (s *site) makeDir(name, dir string) (err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "keelson-"+name+"-")
		s.temporary = err == nil
	} else {
		// Those above it are made so that the account can pass through them.
		if err = os.MkdirAll(filepath.Dir(dir), 0o711); err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
	}
	if err != nil {
		return fmt.Errorf("engine: directory for %s: %w", name, err)
	}
	if s.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("engine: directory for %s: %w", name, err)
	}
	return s.account.take(s.dir)
}

// remove gives the ports back and removes a temporary directory.
func (s *site) remove() error {
	err := releasePorts(s.ports)
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// command prepares one of the binaries. The environment is made from nothing,
// since all three servers and their tools read variables by the dozen, and the
// machine's own settings must not reach them.
func (s *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(s.paths[name], args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "LANG=C.UTF-8"}
	return cmd
}

// run runs a preparing command to its end.
func (s *site) run(ctx context.Context, cmd *exec.Cmd) error {
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	g, err := newGroup()
	if err != nil {
		return err
	}
	if err := g.start(cmd, s.account); err != nil {
		return errors.Join(err, g.kill())
	}
	err, killed := g.main().wait(ctx), g.kill() // nothing writes to output after that
	if err != nil {
		err = fmt.Errorf("engine: %s: %w; its output ends:\n%s", filepath.Base(cmd.Path), err, tail(output.Bytes()))
	}
	return errors.Join(err, killed)
}

func (s *site) logPath() string { return filepath.Join(s.dir, "server.log") }

// tail is the last lines of a log, as many as help in an error message.
func tail(log []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], []byte("\n"))
}
