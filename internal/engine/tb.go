package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// TB is the part of [testing.TB] that this package uses. A program that starts
// an engine on request does not link package testing for it.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Redis starts a Redis server for the test, and closes it at its end.
func Redis(t TB) *Server {
	t.Helper()
	return serve(t, redis)
}

// Postgres starts a Postgres server for the test, and closes it at its end.
func Postgres(t TB) *Server {
	t.Helper()
	return serve(t, postgres)
}

// RabbitMQ starts a RabbitMQ node for the test, and closes it at its end.
func RabbitMQ(t TB) *Server {
	t.Helper()
	return serve(t, rabbitmq)
}

// ProxyTo starts a proxy in front of an address for the test, and closes it at
// its end.
func ProxyTo(t TB, target string) *Proxy {
	t.Helper()
	p, err := StartProxy(target)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return p
}

// startLimit bounds a start on a machine that does much else. RabbitMQ takes
// five seconds on an idle one.
const startLimit = 90 * time.Second

// serve starts a server in a temporary directory. A missing binary or an
// unsupported system skips the test, or fails it where engines are required.
func serve(t TB, r recipe) *Server {
	t.Helper()
	required, err := enginesRequired()
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	s, err := start(ctx, r, "")
	_, missing := errors.AsType[*NotInstalledError](err)
	absent := missing || errors.Is(err, errors.ErrUnsupported)
	switch {
	case absent && !required:
		t.Skipf("%v", err)
	case err != nil:
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return s
}

// enginesRequired reads KEELSON_ENGINES.
func enginesRequired() (bool, error) {
	switch value := os.Getenv("KEELSON_ENGINES"); value {
	case "":
		return false, nil
	case "required":
		return true, nil
	default:
		return false, fmt.Errorf(`engine: KEELSON_ENGINES is %q; it may be empty (tests skip absent engines) or "required" (they fail)`, value)
	}
}
