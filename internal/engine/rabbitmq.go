package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// StartRabbitMQ starts a RabbitMQ node and returns when it greets an AMQP 0-9-1
// client. Its data lives in dir, or in a temporary directory if dir is empty.
// The user is guest with password guest. The context bounds the start alone,
// which takes about five seconds.
//
// As root it runs as the user rabbitmq, or nobody, who is given dir and must be
// able to enter the directories above it.
func StartRabbitMQ(ctx context.Context, dir string) (*Server, error) {
	return start(ctx, rabbitmq, dir)
}

var rabbitmq = recipe{
	name: "rabbitmq",
	programs: []program{
		{name: "rabbitmq-server", pkg: "rabbitmq-server", alsoIn: []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"}},
		{name: "erl", pkg: "erlang-base"}, // the start script finds it by PATH
		{name: "epmd", pkg: "erlang-base", alsoIn: []string{"/usr/lib/erlang/bin", "/usr/lib/erlang/erts-*/bin", "/usr/lib64/erlang/erts-*/bin"}},
	},
	users:    []string{"rabbitmq", "nobody"},
	stop:     syscall.SIGTERM,
	ports:    3, // AMQP, distribution, epmd
	commands: rabbitmqCommands,
	ready:    rabbitmqReady,
	url:      func(addr string) string { return "amqp://guest:guest@" + addr + "/" },
}

// rabbitmqCommands runs a private epmd beside the node. Left to itself a node
// finds the machine's epmd on port 4369, where names of nodes collide, or leaves
// a daemon of its own behind when it goes. With one epmd per node, in the
// foreground and in the node's process group, every node can bear the same name:
// the data is bound to that name, so a restart on another port finds it again.
func rabbitmqCommands(s *site) []*exec.Cmd {
	amqp, dist, names := s.ports[0].String(), s.ports[1].String(), s.ports[2].String()
	epmd := s.command("epmd", "-address", "127.0.0.1", "-port", names)
	node := s.command("rabbitmq-server")
	node.Path = behindWrapper(node.Path)
	in := func(name string) string { return filepath.Join(s.dir, name) }
	node.Env = append(node.Env,
		"RABBITMQ_NODENAME=keelson@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT="+amqp, "RABBITMQ_DIST_PORT="+dist,
		"RABBITMQ_MNESIA_BASE="+in("mnesia"), "RABBITMQ_LOG_BASE="+in("log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+in("enabled_plugins"), "RABBITMQ_GENERATED_CONFIG_DIR="+in("config"),
		// These do not exist, which keeps the machine's own from being read.
		"RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE="+in("advanced.config"),
		"RABBITMQ_CONF_ENV_FILE="+in("rabbitmq-env.conf"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+names,
		// Should ours be missing, the node fails instead of starting a daemon.
		"ERL_FLAGS=-start_epmd false",
		// The start script then becomes the node, instead of a shell that has
		// a node and passes SIGTERM on to it.
		"RUNNING_UNDER_SYSTEMD=true",
	)
	return []*exec.Cmd{epmd, node}
}

// behindWrapper returns the start script itself where the one on PATH is
// Debian's or Red Hat's wrapper, which insists on its own user and sends the
// output to /var/log.
func behindWrapper(path string) string {
	const script = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if info, err := os.Stat(script); err == nil && info.Mode()&0o001 != 0 {
		return script
	}
	return path
}

// rabbitmqReady sends the protocol header and waits for connection.start. A node
// opens its listeners last, when queues and users have been recovered.
//
// Protocol: AMQP 0-9-1 specification, sections 2.2.4 and 4.2.
func rabbitmqReady(conn net.Conn) error {
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	var frame [11]byte // type, channel, size, class, method
	if _, err := io.ReadFull(conn, frame[:]); err != nil {
		return err
	}
	class, method := binary.BigEndian.Uint16(frame[7:]), binary.BigEndian.Uint16(frame[9:])
	if frame[0] != 1 || class != 10 || method != 10 {
		return fmt.Errorf("answered the protocol header with %q", frame)
	}
	return nil
}
