package engine

import (
	"context"
	"net"
	"os/exec"
	"syscall"
)

// recipe is what is special about one kind of server.
type recipe struct {
	name     string
	programs []program      // all of them must be there
	users    []string       // whom to run as when root: the first that exists
	stop     syscall.Signal // asks for a graceful end
	ports    int            // how many it listens on; the first is the one for clients

	// prepare makes the data directory ready, if that needs doing. It may be nil.
	prepare func(ctx context.Context, s *site) error

	// commands are the processes of the server: the last is the server, those
	// before it are companions that it needs and that die with it.
	commands func(s *site) []*exec.Cmd

	// ready talks the server's protocol on a fresh connection, whose deadline is
	// set, and returns nil if clients are served.
	ready func(conn net.Conn) error

	url func(addr string) string
}
