package eventfile_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// counting is a projection whose lease nobody can wait for.
var counting = eventsource.Projection{
	Name: "all", Query: eventsource.All(), Lease: time.Hour,
	Apply: func(context.Context, eventsource.Batch) error { return nil },
}

// project is a process that appends and projects until it is killed. It says its
// incarnation as soon as the projection has come to the end.
func project(dir string) {
	ctx := context.Background()
	l, err := eventfile.Open(dir, eventfile.Config{})
	if err == nil {
		go counting.Run(ctx, l, l) //nolint:errcheck // it ends with the process
		_, err = l.Append(ctx, []eventsource.Event{{Type: "lived"}})
	}
	if err == nil {
		head, _ := l.Head(ctx)
		err = counting.WaitFor(ctx, l, head)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	name, _ := l.Incarnation()
	fmt.Println("incarnation", name)
	select {}
}

// Who had the log open before and was killed is gone, though it said no good-bye: its
// lease, of an hour here, is not waited for.
func TestAProjectionGoesOnAtOnceAfterACrash(t *testing.T) {
	dir := t.TempDir()
	names := map[string]bool{}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), "KEELSON_EVENTFILE_PROJECT="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		said, _ := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait(), "it was killed")
		cancel()
		require.True(t, strings.HasPrefix(said, "incarnation "), "it said %q", said)
		names[said] = true
	}
	assert.Equal(t, 3, len(names))
	l := open(t, dir, eventfile.Config{})
	name, of := l.Incarnation()
	assert.True(t, name != "" && of == eventsource.Checkpoints(l) && !names["incarnation "+name+"\n"], name)
}

func TestACloseKeepsTheIncarnation(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, eventfile.Config{})
	name, _ := first.Incarnation()
	require.NoError(t, first.Close())
	second := open(t, dir, eventfile.Config{})
	again, _ := second.Incarnation()
	assert.True(t, name != "" && name == again, "%q, %q", name, again)
}

// A Close is no proof that a Run has ended: its Apply goes on until it finds out, and
// must not meet that of who opens the log next.
func TestACloseUnderARunLetsNoTwoApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := open(t, dir, eventfile.Config{})
		write(t, first, 1, 3)
		var applying atomic.Bool
		p := counting
		p.Apply = func(ctx context.Context, _ eventsource.Batch) error {
			applying.Store(true)
			defer applying.Store(false)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Run(t.Context(), first, first) }()
		for !applying.Load() {
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, first.Close())
		require.True(t, applying.Load(), "it goes on after Close")

		second := open(t, dir, eventfile.Config{})
		ctx, stop := context.WithCancel(t.Context())
		seen := 0
		p.Apply = func(_ context.Context, b eventsource.Batch) error {
			assert.False(t, applying.Load(), "two at once")
			seen += len(b.Events)
			return nil
		}
		again := make(chan error, 1)
		go func() { again <- p.Run(ctx, second, second) }()
		assert.ErrorIs(t, <-ended, eventsource.ErrClosed)
		require.NoError(t, p.WaitFor(t.Context(), second, 3))
		stop()
		assert.ErrorIs(t, <-again, context.Canceled)
		assert.Equal(t, 3, seen)
		require.NoError(t, second.Close())
	})
}
