package wal_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

// FuzzOpen opens a segment with an arbitrary rest. Whatever it holds, Open ends
// with an error or with records that come back for ever.
func FuzzOpen(f *testing.F) {
	const name = "/log/00000000000000000001.wal"
	fs := faultfs.New(1)
	l, err := wal.Open(wal.Config{Dir: "/log", FS: fs}, nil)
	if err != nil {
		f.Fatal(err)
	}
	header := fs.Bytes(name)
	for n := wal.LSN(1); n <= 6; n++ {
		l.Enqueue(payload(n))
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	body := fs.Bytes(name)[len(header):]
	for _, cut := range []int{0, 1, 40, 60, len(body) - 40, len(body)} {
		f.Add(body[:cut], -1, byte(0))
		f.Add(body[:cut], 13, byte(1))
	}
	f.Fuzz(func(t *testing.T, rest []byte, at int, flip byte) {
		rest = slices.Clone(rest)
		if at >= 0 && at < len(rest) {
			rest[at] ^= flip
		}
		fs := faultfs.New(1)
		fs.Set(name, slices.Concat(header, rest))
		var first [][]byte
		for round := range 3 {
			var got [][]byte
			l, err := wal.Open(wal.Config{Dir: "/log", FS: fs}, func(r wal.Record) error {
				got = append(got, slices.Clone(r.Data))
				return nil
			})
			if round == 0 && errors.Is(err, wal.ErrCorrupt) {
				return
			}
			require.NoError(t, err)
			if round == 0 {
				first = got
			}
			require.Equal(t, first, got, "round", round)
			require.NoError(t, l.Close())
		}
	})
}
