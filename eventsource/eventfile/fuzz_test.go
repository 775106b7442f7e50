package eventfile_test

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource/eventfile"
)

// FuzzRecord decodes arbitrary bytes as a record, a checkpoint and the index of a
// file: an error, never a panic, never more than the bytes can hold.
func FuzzRecord(f *testing.F) {
	for n := range 8 {
		f.Add(eventfile.EncodeRecord(event(n), event(n+1)))
	}
	f.Add(eventfile.EncodeSidecar(event(0), event(1), event(3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if events, err := eventfile.DecodeRecord(b); err == nil {
			for _, e := range events {
				if len(e.Data)+len(e.Stream)+len(e.Type) > len(b) {
					t.Fatalf("%d bytes hold %v", len(b), e)
				}
			}
		}
		eventfile.DecodeCheckpoint(b)
		eventfile.DecodeSidecar(b)
	})
}
