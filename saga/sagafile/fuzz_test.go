package sagafile_test

import (
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// FuzzFrames replays arbitrary bytes, alone and behind frames that are whole: an
// error, never a panic.
func FuzzFrames(f *testing.F) {
	frames := sagafile.Frames()
	for _, frame := range frames {
		f.Add(frame)
		f.Add(frame[:len(frame)-1])
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = sagafile.Replay(b)
		_ = sagafile.Replay(frames[0], b)
		_ = sagafile.Replay(frames[0], frames[3], b, frames[1])
	})
}

// T36: a frame that ends within its head is corrupt, whatever it is a frame of, and no
// cut is any other error. Records are decoded when they are read: a cut within them is
// the checksum's to find.
func TestCutFramesAreCorrupt(t *testing.T) {
	const head = 18
	frames := sagafile.Frames()
	require.NoError(t, sagafile.Replay(frames...))
	for kind, frame := range frames {
		for n := range frame {
			err := sagafile.Replay(frames[0], frame[:n])
			if n < head {
				assert.Error(t, err, kind, n)
			}
			if err != nil {
				assert.ErrorIs(t, err, sagafile.ErrCorrupt)
			}
		}
	}
}
