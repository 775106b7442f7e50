//go:build unix

package engine

import (
	"context"
	"net"
	"os/exec"
	"slices"
)

// Process is one line of the process table.
type Process = process

// Processes lists all of them.
var Processes = processes

// AwaitGone waits until none of the processes exists.
var AwaitGone = awaitGone

// Pid is the number of a process.
func (p process) Pid() int { return p.pid }

// State is its state: T is stopped, Z is a zombie.
func (p process) State() byte { return p.state }

// Same reports whether both are one process.
func (p process) Same(q process) bool { return p.same(q) }

// Family is every process of a running server: the guard, the commands and all
// that descends from them.
func Family(s *Server) ([]process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tree, err := s.run.tree()
	if err != nil {
		return nil, err
	}
	all, err := processes()
	guard := slices.IndexFunc(all, func(p process) bool { return p.pid == s.run.guard.id() })
	return append(tree, all[guard]), err
}

// Addrs is every address that a server listens on.
func Addrs(s *Server) (addrs []string) {
	for _, p := range s.site.ports {
		addrs = append(addrs, p.addr())
	}
	return addrs
}

// ServeWithout is what Redis, Postgres and RabbitMQ do, on a machine that has
// none of their binaries outside PATH.
func ServeWithout(t TB, name string) *Server {
	for _, r := range []recipe{redis, postgres, rabbitmq} {
		if r.name == name {
			r.programs = slices.Clone(r.programs)
			for i := range r.programs {
				r.programs[i].alsoIn = nil
			}
			return serve(t, r)
		}
	}
	panic(name)
}

// StartBroken starts a Redis whose command line it does not understand.
func StartBroken(ctx context.Context) (*Server, error) {
	broken := redis
	broken.commands = func(s *site) []*exec.Cmd { return []*exec.Cmd{s.command("redis-server", "--no-such-setting", "1")} }
	return start(ctx, broken, "")
}

// StartDeaf starts a Redis and knocks in a language that it does not answer. It
// tells of each time that it got through.
func StartDeaf(ctx context.Context, knocked func()) (*Server, error) {
	deaf := redis
	deaf.ready = func(conn net.Conn) error {
		defer knocked()
		return rabbitmqReady(conn)
	}
	return start(ctx, deaf, "")
}
