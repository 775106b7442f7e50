package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// The bare log writes records as long as those of W2 are on average.
func TestSagaRecordIsOfTheSizeOfAnAppend(t *testing.T) {
	const n, frame, mark = 50, 16, 16 + 24
	dir := t.TempDir()
	store, err := sagafile.Open(dir, sagafile.Config{})
	require.NoError(t, err)
	c, err := saga.New(store, saga.Config{})
	require.NoError(t, err)
	s, err := saga.Register(c, chainOf(4))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	for range n {
		_, err := s.Run(ctx, sagaID(), sagaOrder{User: "ada", Parcel: "none"})
		require.NoError(t, err)
	}
	stop()
	require.NoError(t, <-done)
	require.NoError(t, store.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	payload := info.Size()/(5*n) - frame - mark // one append per batch, as they come one by one
	assert.InDelta(t, sagaRecord, payload, 25)
}
