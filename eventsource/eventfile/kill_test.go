package eventfile_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// child is a process that appends until it is killed: eight writers, each to its
// stream under AtVersion, with an id and now and then three events at once, and a
// checkpoint after each. It says what was acknowledged.
func child(dir string) {
	l, err := eventfile.Open(dir, eventfile.Config{SegmentSize: 20_000})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("opened")
	for writer := range 8 {
		go func() {
			if err := childWrites(l, fmt.Sprintf("writer-%d", writer)); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}()
	}
	select {}
}

func childWrites(l *eventfile.Log, stream string) error {
	ctx := context.Background()
	past, err := readAll(l, eventsource.Stream(stream), eventsource.ReadOptions{Backward: true, Limit: 1})
	if err != nil {
		return err
	}
	version := uint64(0)
	if len(past) > 0 {
		version = past[0].Version
	}
	old, err := l.LoadCheckpoint(ctx, stream)
	for err == nil {
		var events []eventsource.Event
		for n := range 1 + rand.IntN(3) {
			events = append(events, eventsource.Event{ID: fmt.Sprintf("%s/%d", stream, version+1+uint64(n)), Stream: stream, Type: "written", Tags: []string{stream}})
		}
		_, err = l.Append(ctx, events, eventsource.AtVersion(stream, version))
		if err != nil {
			return err
		}
		version += uint64(len(events))
		fmt.Printf("%s %d\n", stream, version)
		next := eventsource.Checkpoint{Position: eventsource.Position(version), Epoch: old.Epoch + 1}
		err = l.SaveCheckpoint(ctx, stream, old, next, nil)
		old = next
	}
	return err
}

// T31, T28: killed again and again, the log is free at once, and has every stream
// as far as it was acknowledged, whole appends only.
func TestKilledProcessesLoseNoEvent(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]uint64{}
	for range 12 {
		runChild(t, dir, 1+rand.IntN(200), acked)
		l := open(t, dir, eventfile.Config{})
		all := collect(t, l, eventsource.All(), eventsource.ReadOptions{})
		found := map[string]uint64{}
		for i, e := range all {
			found[e.Stream]++
			require.Equal(t, eventsource.Position(i+1), e.Position)
			require.Equal(t, found[e.Stream], e.Version)
			require.Equal(t, fmt.Sprintf("%s/%d", e.Stream, e.Version), e.ID)
		}
		for stream, version := range acked {
			require.True(t, found[stream] >= version, stream, "acknowledged", version, "found", found[stream])
			c, err := l.LoadCheckpoint(t.Context(), stream)
			require.NoError(t, err)
			assert.True(t, uint64(c.Position) <= found[stream], "a checkpoint ahead of what it rests on")
		}
		require.NoError(t, l.Close())
	}
}

// runChild kills a child after some lines, and notes what it acknowledged.
func runChild(t *testing.T, dir string, lines int, acked map[string]uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KEELSON_EVENTFILE_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		line := scanner.Text()
		if line == "opened" {
			_, err := eventfile.Open(dir, eventfile.Config{})
			require.Error(t, err, "it is locked")
			continue
		}
		var version uint64
		stream, number, _ := strings.Cut(line, " ")
		_, err := fmt.Sscan(number, &version)
		require.NoError(t, err, line)
		acked[stream] = max(acked[stream], version)
		if n == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "it was killed")
}
