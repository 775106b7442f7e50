package main

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-go/keelson/retry"
)

func TestOutputIsGolden(t *testing.T) {
	want, err := os.ReadFile("golden.txt")
	require.NoError(t, err)
	var got bytes.Buffer
	require.NoError(t, run(t.Context(), &got))
	assert.Equal(t, string(want), got.String())
}

// The cases of gRPC's proposal A6, "Pushback".
func TestPushback(t *testing.T) {
	down := status.Error(codes.Unavailable, "down")
	for _, c := range []struct {
		err      error
		pushback []string
		retried  bool
		delay    time.Duration
	}{
		{down, nil, true, 0},
		{down, []string{"0"}, true, 0},
		{down, []string{"250"}, true, 250 * time.Millisecond},
		{status.Error(codes.Internal, "x"), []string{"5"}, true, 5 * time.Millisecond},
		{status.Error(codes.Internal, "x"), nil, false, 0},
		{down, []string{"-1"}, false, 0},
		{down, []string{"soon"}, false, 0},
		{down, []string{"1.5"}, false, 0},
		{down, []string{"99999999999"}, false, 0},
		{down, []string{"1", "1"}, false, 0},
	} {
		got := mark(c.err, c.pushback)
		assert.Equal(t, c.retried, retry.DefaultRetryable(got), "%v", c.pushback)
		assert.Equal(t, status.Code(c.err), status.Code(got), "the code survives the mark")
		if told, ok := errors.AsType[interface {
			error
			RetryAfter() time.Duration
		}](got); ok {
			assert.Equal(t, c.delay, told.RetryAfter())
		}
	}
	assert.NoError(t, mark(nil, nil))
}
