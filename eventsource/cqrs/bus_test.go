package cqrs_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/eventsource/cqrs"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

type double struct {
	cqrs.Returns[int]
	N int
}

type describe struct {
	cqrs.Returns[error]
	Text string
}

func doubled(_ context.Context, d double) (int, error) { return 2 * d.N, nil }

func TestSendAnswersFromTheHandlerOfTheType(t *testing.T) {
	b := cqrs.New()
	cqrs.Handle(b, doubled)
	cqrs.Handle(b, func(_ context.Context, d describe) (error, error) { return errors.New(d.Text), nil })

	n, err := cqrs.Send(t.Context(), b, double{N: 21})
	require.NoError(t, err)
	assert.Equal(t, 42, n)

	text, err := cqrs.Send(t.Context(), b, describe{Text: "as a value"})
	require.NoError(t, err)
	assert.Equal(t, "as a value", text.Error())
}

func TestSendReturnsTheHandlersErrorUntouched(t *testing.T) {
	want := errors.New("sold out")
	for name, b := range map[string]*cqrs.Bus{"bare": cqrs.New(), "through middleware": cqrs.New(passOn)} {
		cqrs.Handle(b, func(context.Context, double) (int, error) { return 7, want })
		n, err := cqrs.Send(t.Context(), b, double{})
		assert.True(t, err == want, name)
		assert.Equal(t, 7, n, name)
	}
}

func passOn(next cqrs.Handler) cqrs.Handler { return next }

func TestSendWithoutHandlerNamesTheType(t *testing.T) {
	b := cqrs.New()
	cqrs.Handle(b, doubled)
	_, err := cqrs.Send(t.Context(), b, &double{N: 1}) // a pointer is another type
	require.ErrorIs(t, err, cqrs.ErrNoHandler)
	assert.Contains(t, err.Error(), "*cqrs_test.double")

	var retryable interface{ Retryable() bool }
	require.True(t, errors.As(err, &retryable))
	assert.False(t, retryable.Retryable())
}

func TestHandlePanicsOnContradiction(t *testing.T) {
	b := cqrs.New()
	cqrs.Handle(b, doubled)
	assert.Panics(t, func() { cqrs.Handle(b, doubled) })
	assert.Panics(t, func() { cqrs.Handle(b, (func(context.Context, describe) (error, error))(nil)) })

	n, err := cqrs.Send(t.Context(), b, double{N: 1})
	require.NoError(t, err, "the first handler stays")
	assert.Equal(t, 2, n)
}

func TestFirstMiddlewareIsOutermost(t *testing.T) {
	var order []string
	named := func(name string) cqrs.Middleware {
		return func(next cqrs.Handler) cqrs.Handler {
			return func(ctx context.Context, request any) (any, error) {
				order = append(order, name)
				defer func() { order = append(order, "/"+name) }()
				return next(ctx, request)
			}
		}
	}
	b := cqrs.New(named("outer"), named("inner"))
	cqrs.Handle(b, doubled)
	_, err := cqrs.Send(t.Context(), b, double{N: 1})
	require.NoError(t, err)
	assert.Equal(t, []string{"outer", "inner", "/inner", "/outer"}, order)
}

// What middleware does to a request or an answer is refused with both types
// named, never with a panic of a type assertion.
func TestMiddlewareKeepsTypes(t *testing.T) {
	answer := func(out any) *cqrs.Bus {
		b := cqrs.New(func(cqrs.Handler) cqrs.Handler {
			return func(context.Context, any) (any, error) { return out, nil }
		})
		cqrs.Handle(b, doubled)
		return b
	}
	n, err := cqrs.Send(t.Context(), answer(5), double{})
	require.NoError(t, err)
	assert.Equal(t, 5, n)

	n, err = cqrs.Send(t.Context(), answer(nil), double{})
	require.NoError(t, err, "nil is the zero answer")
	assert.Equal(t, 0, n)

	_, err = cqrs.Send(t.Context(), answer("five"), double{})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "with string, want int")

	b := cqrs.New(func(next cqrs.Handler) cqrs.Handler {
		return func(ctx context.Context, _ any) (any, error) { return next(ctx, "else") }
	})
	cqrs.Handle(b, doubled)
	_, err = cqrs.Send(t.Context(), b, double{})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "string")
}

func TestPanicPassesThrough(t *testing.T) {
	b := cqrs.New(passOn)
	cqrs.Handle(b, func(context.Context, double) (int, error) { panic("as it is") })
	defer func() { assert.Equal(t, "as it is", recover()) }()
	_, _ = cqrs.Send(t.Context(), b, double{})
	t.Error("not reached")
}

func TestHandlersMayBeAddedWhileRequestsRun(t *testing.T) {
	b := cqrs.New()
	cqrs.Handle(b, doubled)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 1000 {
				n, err := cqrs.Send(t.Context(), b, double{N: i})
				if err != nil || n != 2*i {
					t.Errorf("double of %d: %d, %v", i, n, err)
					return
				}
			}
		})
	}
	cqrs.Handle(b, func(_ context.Context, d describe) (error, error) { return nil, nil })
	group.Wait()
	_, err := cqrs.Send(t.Context(), b, describe{})
	require.NoError(t, err)
}

func TestSendWithoutMiddlewareAllocatesNothing(t *testing.T) {
	b := cqrs.New()
	cqrs.Handle(b, doubled)
	ctx := t.Context()
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = cqrs.Send(ctx, b, double{N: 1 << 20}) }))
}

func BenchmarkSend(bench *testing.B) {
	for name, b := range map[string]*cqrs.Bus{"bare": cqrs.New(), "middleware": cqrs.New(passOn)} {
		cqrs.Handle(b, doubled)
		bench.Run(name, func(bench *testing.B) {
			ctx := bench.Context()
			bench.ReportAllocs()
			for bench.Loop() {
				_, _ = cqrs.Send(ctx, b, double{N: 1})
			}
		})
	}
}
