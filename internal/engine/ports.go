package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come from below the ranges that kernels take for outgoing connections
// (Linux from 32768, others from 49152). A number from inside such a range is
// lost to any client that dials while its server is down.
const (
	lowestPort  = 20_000
	highestPort = 32_000
)

// port is a TCP port of 127.0.0.1 that no other server of this package gets, in
// this process or another, until it is released.
//
// A free port is usually found by listening and closing, which leaves a gap
// until the server listens, and a longer one between Kill and Restart. The hold
// closes it: a UDP socket bound to the same number. The TCP port stays free for
// the server, the kernel gives the UDP number to nobody else, and takes it back
// when the process dies. Lock files would need cleaning up.
type port struct {
	number int
	hold   net.PacketConn
}

// reservePort returns a port that is held and on which nothing listens.
func reservePort() (port, error) {
	var errs error
	for range 100 {
		p, err := holdPort(lowestPort + rand.IntN(highestPort-lowestPort))
		if err == nil {
			return p, nil
		}
		errs = errors.Join(errs, err)
	}
	return port{}, fmt.Errorf("engine: no free port found: %w", errs)
}

// holdPort holds one number, or fails if it is held or listened on.
func holdPort(number int) (port, error) {
	p := port{number: number}
	hold, err := net.ListenPacket("udp4", p.addr())
	if err != nil {
		return port{}, err
	}
	listener, err := net.Listen("tcp4", p.addr())
	if err != nil {
		return port{}, errors.Join(err, hold.Close())
	}
	p.hold = hold
	return p, listener.Close()
}

func (p port) addr() string   { return net.JoinHostPort("127.0.0.1", p.String()) }
func (p port) String() string { return strconv.Itoa(p.number) }

// release gives the number back.
func (p port) release() error { return p.hold.Close() }

// reservePorts reserves n ports, or none.
func reservePorts(n int) ([]port, error) {
	var ports []port
	for range n {
		p, err := reservePort()
		if err != nil {
			return nil, errors.Join(err, releasePorts(ports))
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func releasePorts(ports []port) error {
	var errs error
	for _, p := range ports {
		errs = errors.Join(errs, p.release())
	}
	return errs
}
