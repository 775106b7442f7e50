package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RedisReplica starts a Redis server for the test that replicates another, and
// returns when it has caught up.
func RedisReplica(t TB, of *Server) *Server {
	t.Helper()
	s := serve(t, redisWith(1, func(*site) []string {
		return []string{"--replicaof", "127.0.0.1 " + of.site.ports[0].String(), "--repl-diskless-sync-delay", "0"}
	}))
	await(t, "replica", func(ctx context.Context) error {
		return expect(ctx, s.Addr(), "master_link_status:up", "INFO", "replication")
	})
	return s
}

// RedisSentinel starts a Sentinel for the test that watches a Redis server and
// its replicas under the name "main", and makes a replica the primary when it has
// been gone for half a second. It decides alone.
func RedisSentinel(t TB, primary *Server) *Server {
	t.Helper()
	sentinel := redis
	sentinel.name = "sentinel"
	sentinel.prepare = func(_ context.Context, s *site) error {
		config := fmt.Sprintf("bind 127.0.0.1\nport %v\ndir %s\nsentinel monitor main 127.0.0.1 %v 1\n"+
			"sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
			s.ports[0], s.dir, primary.site.ports[0])
		path := filepath.Join(s.dir, "sentinel.conf")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return err
		}
		return s.account.take(path)
	}
	sentinel.commands = func(s *site) []*exec.Cmd {
		return []*exec.Cmd{s.command("redis-server", filepath.Join(s.dir, "sentinel.conf"), "--sentinel")}
	}
	s := serve(t, sentinel)
	await(t, "sentinel", func(ctx context.Context) error {
		replicas, err := redisAsk(ctx, primary.Addr(), "INFO", "replication")
		if err != nil {
			return err
		}
		_, count, _ := strings.Cut(replicas, "connected_slaves:")
		count, _, _ = strings.Cut(count, "\r\n")
		return expect(ctx, s.Addr(), ",slaves="+count+",", "INFO", "sentinel")
	})
	return s
}

// RedisCluster starts a Redis Cluster for the test, of so many primaries, each
// with so many replicas, and returns when all nodes serve all slots. The
// primaries come first; replica i replicates primary i modulo their number.
func RedisCluster(t TB, primaries, replicas int) []*Server {
	t.Helper()
	node := redisWith(2, func(s *site) []string {
		return []string{
			"--cluster-enabled", "yes", "--cluster-port", s.ports[1].String(),
			"--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0",
		}
	})
	var nodes []*Server
	for range primaries * (1 + replicas) {
		nodes = append(nodes, serve(t, node))
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := joinCluster(ctx, nodes, primaries); err != nil {
		t.Fatalf("engine: cluster: %v", err)
	}
	for _, n := range nodes {
		await(t, "cluster", func(ctx context.Context) error {
			if err := expect(ctx, n.Addr(), "cluster_slots_ok:16384", "CLUSTER", "INFO"); err != nil {
				return err
			}
			return expect(ctx, n.Addr(), "cluster_state:ok", "CLUSTER", "INFO")
		})
	}
	for i, n := range nodes[primaries:] {
		replicate(t, n, nodes[i%primaries])
	}
	return nodes
}

// joinCluster gives each primary its slots and introduces all nodes to the first.
func joinCluster(ctx context.Context, nodes []*Server, primaries int) error {
	const slots = 16384
	for i, n := range nodes {
		commands := [][]string{{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)}}
		if i < primaries {
			from, to := i*slots/primaries, (i+1)*slots/primaries-1
			commands = append(commands, []string{"CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(from), strconv.Itoa(to)})
		}
		if i > 0 {
			first := nodes[0].site.ports
			commands = append(commands, []string{"CLUSTER", "MEET", "127.0.0.1", first[0].String(), first[1].String()})
		}
		for _, command := range commands {
			if _, err := redisAsk(ctx, n.Addr(), command...); err != nil {
				return err
			}
		}
	}
	return nil
}

// replicate makes a node of a cluster a replica, once it has heard of the primary.
func replicate(t TB, replica, primary *Server) {
	t.Helper()
	await(t, "cluster replica", func(ctx context.Context) error {
		id, err := redisAsk(ctx, primary.Addr(), "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		_, err = redisAsk(ctx, replica.Addr(), "CLUSTER", "REPLICATE", id)
		return err
	})
	await(t, "cluster replica", func(ctx context.Context) error {
		return expect(ctx, replica.Addr(), "master_link_status:up", "INFO", "replication")
	})
}

// await tries until there is no error, and fails the test with the last one.
func await(t TB, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("engine: %s: %v", what, err)
			return
		}
	}
}

// expect is an error unless the reply to a command contains a text.
func expect(ctx context.Context, addr, text string, command ...string) error {
	reply, err := redisAsk(ctx, addr, command...)
	if err == nil && !strings.Contains(reply, text) {
		err = fmt.Errorf("%s answers %v without %q:\n%s", addr, command, text, reply)
	}
	return err
}

// redisAsk sends a command whose reply is one string, on a connection of its own.
func redisAsk(ctx context.Context, addr string, command ...string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(command))
	for _, arg := range command {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return "", err
	}
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	switch text := strings.TrimSuffix(line[1:], "\r\n"); line[0] {
	case '+':
		return text, nil
	case '$':
		length, err := strconv.Atoi(text)
		if err != nil || length < 0 {
			return "", fmt.Errorf("engine: %v of %s: no value", command, addr)
		}
		body := make([]byte, length)
		_, err = io.ReadFull(reader, body)
		return string(body), err
	default:
		return "", fmt.Errorf("engine: %v of %s: %s", command, addr, strings.TrimSpace(line))
	}
}
