// Command grpc shows keelson in gRPC clients: two unary interceptors, retry
// outside and breaker inside, so that the breaker judges each attempt and an
// open one ends the call at once.
//
// The server is gRPC's own health service behind an interceptor that fails on
// command. Retry pushback in the trailer is obeyed as gRPC's proposal A6 says.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/retry"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, w io.Writer) error {
	server := &moody{}
	addr, stop, err := server.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()

	b := breaker.New(breaker.Config{Name: "health", Consecutive: 4, OpenFor: time.Minute, Classify: Classify})
	policy := &retry.Policy{MaxAttempts: 3, Backoff: retry.FullJitter(5*time.Millisecond, 50*time.Millisecond)}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithChainUnaryInterceptor(Retry(policy), Breaker(b)))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)

	for _, script := range []struct {
		title    string
		pushback []string
		failures int64
		service  string
	}{
		{title: "healthy"},
		{title: "unavailable twice", failures: 2},
		{title: "pushback of 20 ms", failures: 1, pushback: []string{"20"}},
		{title: "pushback of -1: do not retry", failures: 1, pushback: []string{"-1"}},
		{title: "no such service: not the server's fault", service: "gone"},
		{title: "unavailable for good", failures: 1000},
		{title: "still unavailable", failures: 1000},
	} {
		server.script(script.failures, script.pushback)
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: script.service})
		fmt.Fprintf(w, "%-40s attempts %d, %s, breaker %v\n", script.title+":", server.calls.Load(), outcome(err), b.State())
	}
	return nil
}

func outcome(err error) string {
	if errors.Is(err, breaker.ErrRejected) {
		return "rejected"
	}
	return status.Code(err).String()
}

// moody is a server that fails as scripted.
type moody struct {
	calls, failures atomic.Int64
	pushback        atomic.Pointer[[]string]
}

func (m *moody) script(failures int64, pushback []string) {
	m.calls.Store(0)
	m.failures.Store(failures)
	m.pushback.Store(&pushback)
}

func (m *moody) serve(ctx context.Context) (addr string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if m.calls.Add(1) > m.failures.Load() {
			return handle(ctx, req)
		}
		if pushback := *m.pushback.Load(); len(pushback) > 0 {
			if err := grpc.SetTrailer(ctx, metadata.MD{"grpc-retry-pushback-ms": pushback}); err != nil {
				return nil, err
			}
		}
		return nil, status.Error(codes.Unavailable, "out to lunch")
	}))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(listener) // returns when stop is called
	return listener.Addr().String(), s.Stop, nil
}
