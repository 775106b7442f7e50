package cache

import (
	"encoding/binary"
	"errors"
	"time"
)

// header is what a fill says about itself. It travels to other nodes as
// durations: wall clocks of two hosts are never compared.
type header struct {
	absent     bool
	generation uint64        // highest counter that the node had seen when the load began
	cost       time.Duration // of the load
	whole      time.Duration // life; 0: no end
	fresh      time.Duration // share of it before the value is stale; 0: never stale
	tags       []string
}

// An envelope is what a Remote keeps as Data: format, kind and schema, then the
// numbers of the header as varints, the tags, and the encoded value.
const (
	envelopeFormat = 1

	kindValue  = 'v'
	kindAbsent = 'a'
)

var errEnvelope = errors.New("cache: not an envelope of this format and schema")

// seal puts a header in front of an encoded value.
func seal(schema uint32, h header, payload []byte) []byte {
	data := make([]byte, 0, 48+len(payload))
	kind := byte(kindValue)
	if h.absent {
		kind = kindAbsent
	}
	data = append(data, envelopeFormat, kind)
	data = binary.LittleEndian.AppendUint32(data, schema)
	data = binary.AppendUvarint(data, h.generation)
	for _, d := range []time.Duration{h.cost, h.whole, h.fresh} {
		data = binary.AppendUvarint(data, uint64(millis(d)))
	}
	data = binary.AppendUvarint(data, uint64(len(h.tags)))
	for _, tag := range h.tags {
		data = binary.AppendUvarint(data, uint64(len(tag)))
		data = append(data, tag...)
	}
	return append(data, payload...)
}

// millis rounds up, so that a life above zero does not become "no end".
func millis(d time.Duration) time.Duration {
	return d/time.Millisecond + min(1, d%time.Millisecond)
}

// open is the reverse of seal. The payload is a part of data.
func open(schema uint32, data []byte) (h header, payload []byte, err error) {
	if len(data) < 6 || data[0] != envelopeFormat || data[1] != kindValue && data[1] != kindAbsent ||
		binary.LittleEndian.Uint32(data[2:]) != schema {
		return header{}, nil, errEnvelope
	}
	h.absent = data[1] == kindAbsent
	r := reader{data: data[6:]}
	h.generation = r.number()
	for _, d := range []*time.Duration{&h.cost, &h.whole, &h.fresh} {
		*d = r.millis()
	}
	// Each tag takes a byte at least: a length beyond that is a lie, not a reason to allocate.
	n := r.number()
	if n > uint64(len(r.data)) {
		return header{}, nil, errEnvelope
	}
	for range n {
		h.tags = append(h.tags, string(r.bytes(r.number())))
	}
	if r.failed {
		return header{}, nil, errEnvelope
	}
	return h, r.data, nil
}

// reader takes numbers and bytes off data until something does not fit.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.failed, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) millis() time.Duration {
	ms := r.number()
	if ms > uint64(never/time.Millisecond) {
		r.failed = true
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.failed, r.data = true, nil
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}
