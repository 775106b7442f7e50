package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// StartPostgres starts a Postgres server and returns when it accepts a session.
// Its cluster lives in dir, made by initdb unless one is there, or in a
// temporary directory if dir is empty. User and database are "postgres", without
// a password. The context bounds the start alone.
//
// Postgres refuses to run as root: then it runs as the user postgres, or nobody,
// who is given dir and must be able to enter the directories above it.
func StartPostgres(ctx context.Context, dir string) (*Server, error) {
	return start(ctx, postgres, dir)
}

var postgres = recipe{
	name: "postgres",
	programs: []program{
		{name: "postgres", pkg: "postgresql", alsoIn: postgresDirs},
		{name: "initdb", pkg: "postgresql", alsoIn: postgresDirs},
	},
	users: []string{"postgres", "nobody"},
	// SIGINT is the fast shutdown: sessions are ended, then a checkpoint.
	// SIGTERM would wait for clients to leave.
	stop:     syscall.SIGINT,
	ports:    1,
	prepare:  initdb,
	commands: postgresCommands,
	ready:    postgresReady,
	url: func(addr string) string {
		return "postgres://postgres@" + addr + "/postgres?sslmode=disable"
	},
}

var postgresDirs = []string{
	"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/pgsql/bin",
}

// initdb makes the cluster, once.
func initdb(ctx context.Context, s *site) error {
	if _, err := os.Stat(filepath.Join(s.dir, "data", "PG_VERSION")); err == nil {
		return nil
	}
	return s.run(ctx, s.command("initdb", "--pgdata", filepath.Join(s.dir, "data"),
		"--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"))
}

// The directory for Unix sockets is empty, which turns them off: a temporary
// directory is often deeper than the 107 bytes that a socket's path may have.
func postgresCommands(s *site) []*exec.Cmd {
	return []*exec.Cmd{s.command("postgres", "-D", filepath.Join(s.dir, "data"),
		"-c", "listen_addresses=127.0.0.1", "-c", "port="+s.ports[0].String(), "-c", "unix_socket_directories=",
		"-c", "logging_collector=off", "-c", "fsync=on", "-c", "synchronous_commit=on",
	)}
}

// postgresReady opens a session and waits for ReadyForQuery. pg_isready is
// content with any answer to the startup packet; this one also sees that the
// session can be used.
//
// Protocol: https://www.postgresql.org/docs/15/protocol-flow.html
func postgresReady(conn net.Conn) error {
	const parameters = "user\x00postgres\x00database\x00postgres\x00\x00"
	startup := binary.BigEndian.AppendUint32(nil, uint32(8+len(parameters)))
	startup = binary.BigEndian.AppendUint32(startup, 3<<16) // protocol 3.0
	if _, err := conn.Write(append(startup, parameters...)); err != nil {
		return err
	}
	for {
		switch kind, body, err := readPostgres(conn); {
		case err != nil:
			return err
		case kind == 'E':
			return fmt.Errorf("answered the startup packet with %q", strings.ReplaceAll(string(body), "\x00", " "))
		case kind == 'Z':
			_, err := conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate
			return err
		}
	}
}

// readPostgres reads one message: a type byte, the length, the body.
func readPostgres(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length < 4 || length > 1<<20 {
		return 0, nil, errors.New("answered with something that is not the Postgres protocol")
	}
	body = make([]byte, length-4)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}
