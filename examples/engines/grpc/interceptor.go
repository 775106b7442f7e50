package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/retry"
)

// Retry makes unary calls under p. It replaces gRPC's own retries (switch
// those off by grpc.WithDisableRetry) where calls should share a policy with
// the rest of a program.
func Retry(p *retry.Policy) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return retry.Run(ctx, p, func(ctx context.Context) error {
			var trailer metadata.MD
			err := call(ctx, method, req, reply, cc, slices.Concat(opts, []grpc.CallOption{grpc.Trailer(&trailer)})...)
			return mark(err, trailer.Get("grpc-retry-pushback-ms"))
		})
	}
}

// mark says how a failure is to be retried, by gRPC's proposal A6: what the
// server asks for counts, a value that is negative, malformed or repeated
// means "do not retry", and without one Unavailable alone is retried.
func mark(err error, pushback []string) error {
	switch {
	case len(pushback) == 0 && status.Code(err) == codes.Unavailable:
		return err
	case len(pushback) == 1:
		if ms, bad := strconv.ParseInt(pushback[0], 10, 32); bad == nil && ms >= 0 {
			return retry.After(time.Duration(ms)*time.Millisecond, err)
		}
	}
	return retry.Permanent(err)
}

// Breaker asks g before each unary call.
func Breaker(g breaker.Gate) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return breaker.Run(ctx, g, func(ctx context.Context) error {
			return call(ctx, method, req, reply, cc, opts...)
		})
	}
}

// Classify belongs into the breaker's Config: codes that blame the request
// say nothing about the server's health.
func Classify(err error, o breaker.Outcome) breaker.Outcome {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.Unauthenticated, codes.FailedPrecondition, codes.OutOfRange:
		return breaker.Ignored
	default:
		return o
	}
}
