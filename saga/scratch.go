package saga

import (
	"bytes"
	"encoding/json"
	"sync"
)

// scratch is what a run uses again for each step, so that a step of a chain costs no
// allocation of its own.
type scratch struct {
	agenda   agenda
	batch    batch
	pending  pending
	sides    [2]side // S as it is, and as it becomes
	turn     int
	start    side          // of one that begins here; the store keeps it
	known    *side         // of a chain, the one that the machine's data is, if it is known
	kept     []byte        // room for deltas, which the store keeps
	contexts []callContext // not used yet
	hangar   *flight       // one to use again

	// The first of each kind needs no allocation.
	oneCall   [1]int
	oneRecord [1]Record
	oneFlight [2]*flight
	flight    flight
	ending    ending
	own       machine
}

func (r *run) furnish() {
	r.agenda.calls, r.batch = r.oneCall[:0], r.oneRecord[:0]
	r.flights, r.landed = r.oneFlight[:0:1], r.oneFlight[1:1]
	r.hangar = &r.scratch.flight
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

// appendJSON is json.Marshal into room that is there.
func appendJSON(data []byte, v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.buf.Reset()
	if err := e.enc.Encode(v); err != nil {
		return nil, err // an encoder remembers its error
	}
	data = append(data, bytes.TrimSuffix(e.buf.Bytes(), []byte{'\n'})...)
	if e.buf.Cap() <= 64<<10 {
		encoders.Put(e)
	}
	return data, nil
}

// side is S as it was encoded once, and where its fields stand, if that is known.
type side struct {
	data   []byte
	spans  []span
	copied bool // see [layout.encode]
}

// encode writes S over a side that is not needed any more.
func (p *program) encode(over side, v any) (now side, err error) {
	if p.layout == nil {
		now.data, err = appendJSON(over.data[:0], v)
		return now, err
	}
	if over.spans == nil {
		over = side{data: make([]byte, 0, 256), spans: make([]span, 0, len(p.layout.slots))}
	}
	return p.layout.encode(over, v)
}

// encode writes S to where it was not last; a chain has one S at a time. Parallel
// steps each get bytes of their own.
func (s *scratch) encode(p *program, v any) (*side, error) {
	if !p.g.chain {
		data, err := json.Marshal(v)
		return &side{data: data}, err
	}
	to := &s.sides[1-s.turn]
	now, err := p.encode(*to, v)
	if err != nil {
		return nil, err
	}
	s.turn = 1 - s.turn
	*to = now
	return to, nil
}

// roomFor is room for the start of a saga. What it leaves is for deltas, which the
// store keeps as well.
func (s *scratch) roomFor(p *program) side {
	if p.layout == nil || !p.g.chain {
		return side{}
	}
	s.kept = make([]byte, 0, 512)
	n := len(p.layout.slots)
	spans := make([]span, 3*n)
	s.sides[0].spans, s.sides[1].spans = spans[:0:n], spans[n:n:2*n]
	return side{data: s.kept, spans: spans[2*n : 2*n]}
}

// begins notes how a saga starts.
func (s *scratch) begins(at side) {
	s.start, s.known = at, &s.start
	n := len(at.data)
	if n > cap(s.kept)/2 {
		s.kept = nil // mostly taken, or the start has outgrown it
	} else {
		s.kept = at.data[:n:cap(s.kept)]
		s.start.data = at.data[:n:n]
	}
	n += n/4 + 32
	room := make([]byte, 2*n)
	s.sides[0].data, s.sides[1].data = room[:0:n], room[n:n]
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
