//go:build unix

package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// redisSession speaks RESP, as little as the tests need.
type redisSession struct {
	net.Conn
	r *bufio.Reader
}

func openRedis(conn net.Conn) (session, error) {
	return &redisSession{Conn: conn, r: bufio.NewReader(conn)}, nil
}

func (s *redisSession) put(key, value string) error {
	reply, err := s.do("SET", key, value)
	if err == nil && reply != "OK" {
		err = fmt.Errorf("SET: %q", reply)
	}
	return err
}

func (s *redisSession) get(key string) (string, error) { return s.do("GET", key) }

// do sends a command as an array of bulk strings and reads a simple or bulk
// string.
func (s *redisSession) do(args ...string) (string, error) {
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(s, command.String()); err != nil {
		return "", err
	}
	line, err := s.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	switch text := strings.TrimSuffix(line[1:], "\r\n"); line[0] {
	case '+':
		return text, nil
	case '$':
		return s.bulk(text)
	default:
		return "", fmt.Errorf("%s: %s", args[0], line)
	}
}

func (s *redisSession) bulk(length string) (string, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 {
		return "", fmt.Errorf("no value: length %q", length)
	}
	text := make([]byte, n+2)
	_, err = io.ReadFull(s.r, text)
	return string(text[:n]), err
}
