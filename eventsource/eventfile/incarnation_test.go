package eventfile_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// Who had the log open before is gone, also if it could not say good-bye: its lease, of
// an hour here, is not waited for.
func TestAProjectionGoesOnAtOnceAfterACrash(t *testing.T) {
	dir := t.TempDir()
	seen := 0
	projection := eventsource.Projection{
		Name: "all", Query: eventsource.All(), Lease: time.Hour,
		Apply: func(_ context.Context, b eventsource.Batch) error { seen += len(b.Events); return nil },
	}
	for life := 1; life <= 3; life++ {
		l := open(t, dir, eventfile.Config{})
		write(t, l, 20*life, 20*life+3)
		head, err := l.Head(t.Context())
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- projection.Run(t.Context(), l, l) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		require.NoError(t, projection.WaitFor(ctx, l, head))
		cancel()
		// As in a crash, Run ends with the log and cannot write that it leaves.
		require.NoError(t, l.Close())
		assert.ErrorIs(t, <-ended, eventsource.ErrClosed)
		assert.Equal(t, int(head), seen)
	}
}

func TestEachOpeningHasAnotherName(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, eventfile.Config{})
	name := first.Incarnation()
	assert.Equal(t, name, first.Incarnation())
	require.NoError(t, first.Close())
	second := open(t, dir, eventfile.Config{})
	assert.True(t, name != "" && name != second.Incarnation(), "%q, %q", name, second.Incarnation())
}
