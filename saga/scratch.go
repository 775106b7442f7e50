package saga

import (
	"bytes"
	"encoding/json"
)

// scratch is what a run uses again for each step, so that a step of a chain costs
// two allocations: its context, and what the store returns.
type scratch struct {
	agenda  agenda
	batch   batch
	pending pending
	differ  differ
	sides   [2]side // S as it is, and as it becomes
	turn    int
	kept    []byte // room for deltas, which the store keeps
}

type side struct {
	buf bytes.Buffer
	enc *json.Encoder
}

// encode writes S into the buffer that does not hold what it was; a chain has one S
// at a time. Parallel steps each get bytes of their own.
func (s *scratch) encode(v any, chain bool) ([]byte, error) {
	if !chain {
		return json.Marshal(v)
	}
	s.turn = 1 - s.turn
	side := &s.sides[s.turn]
	if side.enc == nil {
		side.enc = json.NewEncoder(&side.buf)
	}
	side.buf.Reset()
	if err := side.enc.Encode(v); err != nil {
		s.turn = 1 - s.turn
		return nil, err
	}
	return bytes.TrimSuffix(side.buf.Bytes(), []byte{'\n'}), nil
}

// discard forgets what was encoded last: S stays as it was.
func (s *scratch) discard(chain bool) {
	if chain {
		s.turn = 1 - s.turn
	}
}

// keep copies a delta to where it may stay.
func (s *scratch) keep(d []byte) []byte {
	if d == nil {
		return nil
	}
	if len(s.kept)+len(d) > cap(s.kept) {
		s.kept = make([]byte, 0, max(512, len(d)))
	}
	begin := len(s.kept)
	s.kept = append(s.kept, d...)
	return s.kept[begin:len(s.kept):len(s.kept)]
}
