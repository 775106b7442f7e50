package sagafile_test

import (
	"os"
	"testing"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
	"github.com/keelson-go/keelson/saga/sagatest"
)

func open(t *testing.T, dir string, cfg sagafile.Config) *sagafile.Store {
	t.Helper()
	s, err := sagafile.Open(dir, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStoreConforms(t *testing.T) {
	for name, cfg := range map[string]sagafile.Config{"Default": {}, "SmallSegments": {SegmentSize: 2000}, "NoSync": {NoSync: true}} {
		t.Run(name, func(t *testing.T) {
			sagatest.TestStore(t, func(t *testing.T) saga.Store { return open(t, t.TempDir(), cfg) })
		})
	}
}

// A store that is not closed keeps its lock, so what is opened again is a copy of
// its files, as a crash would leave them.
func TestStoreReopens(t *testing.T) {
	image := ""
	sagatest.TestReopen(t, func(t *testing.T, dir string) saga.Store {
		if image == "" {
			image = dir
			return open(t, dir, sagafile.Config{})
		}
		return open(t, crashed(t, image), sagafile.Config{})
	})
}

func crashed(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}
