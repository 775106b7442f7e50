package eventfile_test

import (
	"slices"
	"testing"

	"github.com/keelson-go/keelson/eventsource/eventfile"
)

func TestASidecarIsReadAsItWasWritten(t *testing.T) {
	good := eventfile.EncodeSidecar(event(0), event(1), event(3), event(4))
	if !eventfile.DecodeSidecar(good) {
		t.Fatal("a good sidecar is refused")
	}
	for at := 56; at < len(good)-4; at++ { // of any other byte: no panic, no huge allocation
		for _, change := range []byte{1, 0x7f, 0x80, 0xff} {
			b := slices.Clone(good)
			b[at] ^= change
			eventfile.DecodeSidecar(b)
		}
		if eventfile.DecodeSidecar(good[:at]) {
			t.Fatalf("%d bytes of %d are taken for a whole", at, len(good))
		}
	}
}

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
