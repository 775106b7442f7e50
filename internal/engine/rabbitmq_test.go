//go:build unix

package engine_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// rabbitmqSession speaks AMQP 0-9-1: each key is a durable queue that holds one
// persistent message, and put returns when the broker has confirmed it.
type rabbitmqSession struct {
	net.Conn
	r *bufio.Reader
}

// Long strings and tables have a length of 32 bits in AMQP, names of 8.
type longString string

// A method of the protocol: class and number within it.
type method struct{ class, number uint16 }

var (
	connectionStart   = method{10, 10}
	connectionStartOK = method{10, 11}
	connectionTune    = method{10, 30}
	connectionTuneOK  = method{10, 31}
	connectionOpen    = method{10, 40}
	connectionOpenOK  = method{10, 41}
	channelOpen       = method{20, 10}
	channelOpenOK     = method{20, 11}
	queueDeclare      = method{50, 10}
	queueDeclareOK    = method{50, 11}
	basicPublish      = method{60, 40}
	basicGet          = method{60, 70}
	basicGetOK        = method{60, 71}
	basicAck          = method{60, 80}
	confirmSelect     = method{85, 10}
	confirmSelectOK   = method{85, 11}
)

const (
	frameMethod, frameHeader, frameBody, frameEnd = 1, 2, 3, 0xCE

	durable, persistent = byte(2), byte(2)
)

func openRabbitMQ(conn net.Conn) (session, error) {
	s := &rabbitmqSession{Conn: conn, r: bufio.NewReader(conn)}
	if _, err := io.WriteString(s, "AMQP\x00\x00\x09\x01"); err != nil {
		return nil, err
	}
	if _, err := s.expect(connectionStart); err != nil {
		return nil, err
	}
	s.send(0, connectionStartOK, longString(""), "PLAIN", longString("\x00guest\x00guest"), "en_US")
	if _, err := s.expect(connectionTune); err != nil {
		return nil, err
	}
	s.send(0, connectionTuneOK, uint16(10), uint32(128<<10), uint16(0))
	for _, step := range []struct {
		channel uint16
		method  method
		args    []any
		want    method
	}{
		{0, connectionOpen, []any{"/", "", byte(0)}, connectionOpenOK},
		{1, channelOpen, []any{""}, channelOpenOK},
		{1, confirmSelect, []any{byte(0)}, confirmSelectOK},
	} {
		s.send(step.channel, step.method, step.args...)
		if _, err := s.expect(step.want); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *rabbitmqSession) put(key, value string) error {
	s.send(1, queueDeclare, uint16(0), key, durable, longString(""))
	if _, err := s.expect(queueDeclareOK); err != nil {
		return err
	}
	s.send(1, basicPublish, uint16(0), "", key, byte(0))
	// Class, weight, size of the body, the one property that is set: delivery mode.
	s.frame(frameHeader, 1, encode(uint16(60), uint16(0), uint64(len(value)), uint16(1<<12), persistent))
	s.frame(frameBody, 1, []byte(value))
	_, err := s.expect(basicAck)
	return err
}

func (s *rabbitmqSession) get(key string) (string, error) {
	s.send(1, basicGet, uint16(0), key, byte(0))
	if _, err := s.expect(basicGetOK); err != nil {
		return "", err
	}
	if _, err := s.read(frameHeader); err != nil {
		return "", err
	}
	body, err := s.read(frameBody)
	return string(body), err
}

// send leaves errors to the read that follows.
func (s *rabbitmqSession) send(channel uint16, m method, args ...any) {
	s.frame(frameMethod, channel, append(encode(m.class, m.number), encode(args...)...))
}

func (s *rabbitmqSession) frame(kind byte, channel uint16, payload []byte) {
	_, _ = s.Write(append(encode(kind, channel, longString(payload)), frameEnd))
}

// expect reads a method and returns its arguments.
func (s *rabbitmqSession) expect(want method) ([]byte, error) {
	payload, err := s.read(frameMethod)
	if err != nil {
		return nil, err
	}
	got := method{binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])}
	if got != want {
		return nil, fmt.Errorf("want method %v, got %v %q", want, got, payload)
	}
	return payload[4:], nil
}

func (s *rabbitmqSession) read(want byte) ([]byte, error) {
	var head [7]byte // type, channel, size
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return nil, err
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	if _, err := io.ReadFull(s.r, payload); err != nil {
		return nil, err
	}
	end := len(payload) - 1
	if head[0] != want || payload[end] != frameEnd {
		return nil, fmt.Errorf("want frame %d, got %d %q", want, head[0], payload)
	}
	return payload[:end], nil
}

func encode(args ...any) (out []byte) {
	for _, arg := range args {
		switch v := arg.(type) {
		case byte:
			out = append(out, v)
		case uint16:
			out = binary.BigEndian.AppendUint16(out, v)
		case uint32:
			out = binary.BigEndian.AppendUint32(out, v)
		case uint64:
			out = binary.BigEndian.AppendUint64(out, v)
		case string:
			out = append(append(out, byte(len(v))), v...)
		case longString:
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(v))), v...)
		default:
			panic(fmt.Sprintf("cannot encode %T", arg))
		}
	}
	return out
}
