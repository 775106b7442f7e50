package engine

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
)

// StartRedis starts a Redis server and returns when it answers PING. Its data
// lives in dir, or in a temporary directory if dir is empty. The context bounds
// the start alone; the server runs until it is stopped, killed or closed.
//
// Every write is in the append-only file and synced before it is acknowledged.
func StartRedis(ctx context.Context, dir string) (*Server, error) {
	return start(ctx, redis, dir)
}

var redis = redisWith(1, func(*site) []string { return nil })

// redisWith is a Redis server with so many ports and further settings.
func redisWith(ports int, settings func(*site) []string) recipe {
	return recipe{
		name:     "redis",
		programs: []program{{name: "redis-server", pkg: "redis-server", alsoIn: []string{"/usr/sbin", "/usr/local/sbin"}}},
		stop:     syscall.SIGTERM,
		ports:    ports,
		commands: func(s *site) []*exec.Cmd {
			args := []string{
				"--bind", "127.0.0.1", "--port", s.ports[0].String(), "--dir", s.dir, "--daemonize", "no",
				"--save", "", "--appendonly", "yes", "--appendfsync", "always",
			}
			return []*exec.Cmd{s.command("redis-server", append(args, settings(s)...)...)}
		},
		ready: redisReady,
		url:   func(addr string) string { return "redis://" + addr + "/0" },
	}
}

// redisReady sends PING. While Redis reads its file back it answers -LOADING,
// and is not ready.
func redisReady(conn net.Conn) error {
	if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return err
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if reply != "+PONG\r\n" {
		return fmt.Errorf("answered PING with %q", strings.TrimSpace(reply))
	}
	return nil
}
