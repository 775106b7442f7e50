package sagafile

import (
	"fmt"
	"time"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// OpenFS is Open on another file system.
func OpenFS(dir string, cfg Config, files wal.FS) (*Store, error) { return open(dir, cfg, files) }

// Frames are one of each kind, as a store writes them.
func Frames() (all [][]byte) {
	w := saga.Write{
		Summary: saga.Summary{ID: "a", Name: "order", Version: 1, Shape: "s", Fingerprint: "f", State: saga.Running, Step: "pay", Seq: 1},
		Records: []saga.Record{{Kind: "start", Key: "pay+", Seq: 1, State: saga.Running, Data: []byte(`{"n":1}`)}},
		WakeIn:  time.Hour,
	}
	at := head{frameWrite, hasDefinition, 0, 7}
	all = append(all, appendWrite(appendDefinition(at.append(nil), &w.Summary), &w))
	w.Summary.Epoch, w.Summary.Code, w.Summary.Cause, w.Read, w.Release = 1, "c", "cause", 3, true
	all = append(all, appendWrite(head{frameWrite, 0, 64, 8}.append(nil), &w))
	claim := appendText(head{kind: frameClaim, at: 9}.append(nil), "a")
	all = append(all, append(claim, 2, 1))
	all = append(all, appendRecord(appendText(head{kind: framePost, at: 10}.append(nil), "a"), &saga.Record{Kind: "signal", Code: "go", Key: "k", Seq: 1}, 0))
	all = append(all, appendText(head{kind: framePurge, at: 11}.append(nil), "a"))
	for _, piece := range encodePieces(w.Records) {
		all = append(all, append(head{framePiece, 0, 0, 12}.append(nil), piece...))
	}
	s := empty()
	for _, frame := range all[:4] {
		if err := s.replay(wal.Record{LSN: 1, Ref: 64, Data: frame}); err != nil {
			panic(fmt.Sprint("a frame of its own does not replay: ", err))
		}
	}
	e := s.sagas["a"]
	return append(all, appendSnapshot(head{frameSnapshot, hasDefinition, 64, 13}.append(nil), e, 64))
}

func empty() *Store {
	return &Store{
		sagas: map[string]*entry{}, defs: map[defKey]*definition{}, queues: map[*definition]*dueQueue{},
		owners: map[string]*owner{}, dead: map[string]struct{}{},
	}
}

// Replay replays frames as if they were a log.
func Replay(frames ...[]byte) error {
	s := empty()
	for i, frame := range frames {
		if err := s.replay(wal.Record{LSN: wal.LSN(i + 1), Ref: wal.Ref(64 * (i + 1)), Data: frame}); err != nil {
			return err
		}
	}
	s.recovered()
	for _, e := range s.sagas {
		e.summary()
	}
	return nil
}
