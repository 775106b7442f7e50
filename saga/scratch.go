package saga

import (
	"bytes"
	"encoding/json"
	"sync"
)

// scratch is what a run uses again for each step, so that a step of a chain costs
// two allocations: its context, and what the store returns.
type scratch struct {
	agenda  agenda
	batch   batch
	pending pending
	sides   [2][]byte // S as it is, and as it becomes
	turn    int
	kept    []byte // room for deltas, which the store keeps

	// The first of each kind needs no allocation.
	oneCall   [1]int
	oneRecord [1]Record
	oneFlight [2]*flight
	ending    ending
	own       machine
}

func (r *run) furnish() {
	r.agenda.calls, r.batch = r.oneCall[:0], r.oneRecord[:0]
	r.flights, r.landed = r.oneFlight[:0:1], r.oneFlight[1:1]
}

var differs = sync.Pool{New: func() any { return &differ{} }}

// encoder is a buffer that encodes.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.enc = json.NewEncoder(&e.buf)
	return e
}}

// encode writes S to where it was not last; a chain has one S at a time. Parallel
// steps each get bytes of their own.
func (s *scratch) encode(v any, chain bool) ([]byte, error) {
	if !chain {
		return json.Marshal(v)
	}
	e := encoders.Get().(*encoder)
	e.buf.Reset()
	if err := e.enc.Encode(v); err != nil {
		return nil, err // an encoder remembers its error
	}
	data := bytes.TrimSuffix(e.buf.Bytes(), []byte{'\n'})
	if s.sides[0] == nil {
		n := len(data) + len(data)/4 + 32
		room := make([]byte, 2*n)
		s.sides[0], s.sides[1] = room[:0:n], room[n:n]
	}
	s.turn = 1 - s.turn
	data = append(s.sides[s.turn][:0], data...)
	s.sides[s.turn] = data
	if e.buf.Cap() <= 64<<10 {
		encoders.Put(e)
	}
	return data, nil
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
