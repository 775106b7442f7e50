package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// life is a service that runs: a node in this process, or a process of its own.
type life interface {
	// Stop lets it finish what it has begun, until ctx ends, and returns when it is
	// gone. With a ctx that has ended it is killed.
	Stop(ctx context.Context)
}

// Spec is what a child is told of its surroundings, by EnvSpec. Secrets go this way
// and not as arguments, which every user of the machine can read.
type Spec struct {
	Name     string
	Peers    map[string][]wire.Instance
	Registry string
	Collect  string
	Secret   string
	Key      []byte
	Check    time.Duration
	CheckFor time.Duration
	Faults   fault.Orders
	Switches wire.SwitchOrders
}

// EnvSpec is the variable of the environment that holds the Spec of a child.
const EnvSpec = "SHOP_SPEC"

// SpecFrom reads the Spec, if this process is a child.
func SpecFrom(env func(string) string) (s Spec, child bool, err error) {
	text := env(EnvSpec)
	if text == "" {
		return s, false, nil
	}
	return s, true, json.Unmarshal([]byte(text), &s)
}

// process is a service in a process of its own: this very program, started again.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer     // whose end is the child's
	gone  chan struct{} // closed once it is
}

// startUp is how long a child may take until it listens.
const startUp = 10 * time.Second

// spawn starts a replica as a child and waits until it listens. The child ends when
// its standard input does, so none outlives a parent that was killed.
func (s *Shop) spawn(r *replica, c wire.Config, ended func(*process)) (*process, error) {
	spec, err := json.Marshal(Spec{
		Name: c.Name, Peers: c.Peers, Registry: c.Registry, Collect: c.Collect, Secret: c.Secret, Key: c.Key,
		Check: c.Check, CheckFor: c.CheckFor, Faults: c.Faults, Switches: c.Switches,
	})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return nil, err
	}
	//nolint:noctx // its life is Stop's to end
	cmd := exec.Command(self, "-service", r.Service.Name, "-preset", s.config.Preset.Name, "-seed", strconv.FormatUint(s.config.Seed, 10),
		"-data", s.config.Data, "-saga", s.config.Saga, "-sabotage", s.config.Sabotage)
	cmd.Env = append(os.Environ(), EnvSpec+"="+string(spec), "PORT="+port)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	listens := make(chan string, 1)
	go func() {
		out := bufio.NewReader(stdout)
		line, _ := out.ReadString('\n') // nothing of one that dies before
		listens <- line
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // how it ended is of no interest: it is gone
		close(p.gone)
		ended(p)
	}()
	timer := time.NewTimer(startUp)
	defer timer.Stop()
	select {
	case line := <-listens:
		if strings.Contains(line, "http://") {
			return p, nil
		}
		<-p.gone
		return nil, fmt.Errorf("%s: ended before it listened", r.Name)
	case <-timer.C:
		now, cancel := context.WithCancel(context.Background())
		cancel()
		p.Stop(now)
		return nil, fmt.Errorf("%s: does not listen after %v", r.Name, startUp)
	}
}

// Stop implements life: SIGTERM, and SIGKILL when ctx ends.
func (p *process) Stop(ctx context.Context) {
	if ctx.Err() == nil {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already, if this fails
	}
	select {
	case <-p.gone:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
	_ = p.stdin.Close()
}
