//go:build unix

package engine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// postgresSession speaks the simple query protocol over trust authentication.
type postgresSession struct{ net.Conn }

func openPostgres(conn net.Conn) (session, error) {
	s := &postgresSession{conn}
	const parameters = "user\x00postgres\x00database\x00postgres\x00\x00"
	startup := binary.BigEndian.AppendUint32(nil, uint32(8+len(parameters)))
	startup = binary.BigEndian.AppendUint32(startup, 196608)
	if _, err := s.Write(append(startup, parameters...)); err != nil {
		return nil, err
	}
	if _, err := s.result(); err != nil {
		return nil, err
	}
	_, err := s.query("SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS pairs (key text PRIMARY KEY, value text)")
	return s, err
}

func (s *postgresSession) put(key, value string) error {
	_, err := s.query(fmt.Sprintf("INSERT INTO pairs VALUES ('%s', '%s')", key, value))
	return err
}

func (s *postgresSession) get(key string) (string, error) {
	return s.query(fmt.Sprintf("SELECT value FROM pairs WHERE key = '%s'", key))
}

func (s *postgresSession) query(sql string) (string, error) {
	message := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(4+len(sql)+1))
	if _, err := s.Write(append(message, sql+"\x00"...)); err != nil {
		return "", err
	}
	return s.result()
}

// result reads up to ReadyForQuery and returns the only value of the last row.
func (s *postgresSession) result() (value string, err error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(s, head[:]); err != nil {
			return "", err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(s, body); err != nil {
			return "", err
		}
		switch head[0] {
		case 'E':
			err = errors.New(strings.ReplaceAll(string(body), "\x00", " "))
		case 'D': // count of columns, length of the first, the first
			value = string(body[6:])
		case 'Z':
			return value, err
		}
	}
}
