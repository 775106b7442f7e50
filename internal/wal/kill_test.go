package wal_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
)

var tContext = context.Background()

// child is a process that appends until it is killed, eight at a time, and says
// what was acknowledged.
func child(dir string) {
	log, err := open(wal.Config{Dir: dir, SegmentSize: 20_000})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("found", log.last)
	var mu sync.Mutex
	next := log.last
	for range 8 {
		go func() {
			for {
				mu.Lock()
				next++
				n, p := next, payload(next)
				t := log.Enqueue(p)
				mu.Unlock()
				if err := t.Wait(tContext); err != nil || t.LSN != n {
					fmt.Println("record", n, "is", t.LSN, err)
					os.Exit(1)
				}
				fmt.Println("acked", n)
			}
		}()
	}
	select {}
}

// T28, T31: a process is killed again and again. What it called durable is there,
// in one piece, and the lock is free at once.
func TestKilledProcessesLoseNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := 0
	for round := range 15 {
		last, found := runChild(t, dir, 1+rand.IntN(300))
		assert.True(t, found >= acked, "round", round, "acknowledged", acked, "found", found)
		acked = last
	}
	l, err := open(wal.Config{Dir: dir})
	require.NoError(t, err)
	assert.True(t, int(l.last) >= acked)
	t.Logf("%d records, %d segments", l.last, l.Stats().Segments)
	require.NoError(t, l.Close())
}

// runChild kills a child after a number of lines, and returns the largest number
// that it acknowledged and how many records it had found.
func runChild(t *testing.T, dir string, lines int) (acked, found int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KEELSON_WAL_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		word, number, ok := strings.Cut(scanner.Text(), " ")
		value, err := strconv.Atoi(number)
		require.True(t, ok && err == nil, scanner.Text())
		if word == "found" {
			found, acked = value, value
			_, err := open(wal.Config{Dir: dir})
			require.ErrorIs(t, err, wal.ErrLocked)
		}
		acked = max(acked, value)
		if n == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "it was killed")
	return acked, found
}
