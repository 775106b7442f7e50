package wal_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("KEELSON_WAL_CHILD"); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// payload is the n-th record of every test: it says so, and its length varies.
func payload(n wal.LSN) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(n))
	for i := range int(n * 37 % 90) {
		b = append(b, byte(i))
	}
	return b
}

// opened is an open log with what it replayed.
type opened struct {
	*wal.Log
	first, last wal.LSN // of the records replayed; last is first-1 for none
}

// open opens and checks that the records are those that the tests write.
func open(c wal.Config) (opened, error) {
	o := opened{first: 1}
	log, err := wal.Open(c, func(r wal.Record) error {
		if o.last == 0 {
			o.first, o.last = r.LSN, r.LSN-1
		}
		if r.LSN != o.last+1 || !slices.Equal(r.Data, payload(r.LSN)) {
			return fmt.Errorf("record %d after %d: %d bytes", r.LSN, o.last, len(r.Data))
		}
		o.last++
		return nil
	})
	o.Log = log
	return o, err
}

// append enqueues the record that comes next, which is n, and waits.
func appendTo(l *wal.Log, n wal.LSN) error {
	p := payload(n)
	if err := l.Reserve(context.Background(), len(p)); err != nil {
		return err
	}
	t := l.Enqueue(p[:4], p[4:])
	if err := t.Wait(context.Background()); err != nil {
		return err
	}
	if t.LSN != n {
		return fmt.Errorf("record %d got number %d", n, t.LSN)
	}
	return nil
}

// fill appends records up to number last.
func fill(t *testing.T, l *wal.Log, last wal.LSN) {
	t.Helper()
	for n := l.Durable() + 1; n <= last; n++ {
		require.NoError(t, appendTo(l, n))
	}
}

// image returns the disk of a process that wrote records 1 to n, one batch each,
// and was killed, or closed the log.
func image(t *testing.T, n wal.LSN, c wal.Config, clean bool) *faultfs.FS {
	t.Helper()
	fs := faultfs.New(1)
	c.Dir, c.FS = "/log", fs
	l, err := open(c)
	require.NoError(t, err)
	fill(t, l.Log, n)
	if clean {
		require.NoError(t, l.Close())
		return fs.Clone()
	}
	after := fs.Clone()
	require.NoError(t, l.Close())
	return after
}

// reopen opens a disk image, and closes the log when the test ends.
func reopen(t *testing.T, fs *faultfs.FS, c wal.Config) (opened, error) {
	t.Helper()
	c.Dir, c.FS = "/log", fs
	l, err := open(c)
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}
