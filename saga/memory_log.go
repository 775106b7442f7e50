package saga

import (
	"bytes"
	"encoding/binary"
	"time"
)

// packed is the log of a saga in [Memory]: its records end to end, a third of what a
// slice of them takes. Seq and epoch count from 1, so that most numbers are one byte.
type packed []byte

func (p packed) add(r *Record, at time.Time) packed {
	p = binary.AppendUvarint(p, r.Seq)
	p = binary.AppendUvarint(p, r.Epoch)
	p = binary.AppendUvarint(p, uint64(r.Attempt))
	p = binary.AppendUvarint(p, uint64(r.State))
	p = binary.AppendVarint(p, at.UnixNano())
	for _, text := range [...]string{r.Kind, r.Step, r.Code, r.Error, r.Key} {
		p = append(binary.AppendUvarint(p, uint64(len(text))), text...)
	}
	return append(binary.AppendUvarint(p, uint64(len(r.Data))), r.Data...)
}

// records unpacks the log of a saga.
func (p packed) records(id, name string) (log []Record) {
	number := func() uint64 {
		v, n := binary.Uvarint(p)
		p = p[n:]
		return v
	}
	text := func() []byte {
		n := number()
		v := p[:n]
		p = p[n:]
		return v
	}
	for len(p) > 0 {
		r := Record{Saga: id, Name: name, Seq: number(), Epoch: number(), Attempt: int(number()), State: State(number())}
		at, n := binary.Varint(p)
		p = p[n:]
		r.At = time.Unix(0, at).UTC()
		r.Kind, r.Step, r.Code, r.Error, r.Key = string(text()), string(text()), string(text()), string(text()), string(text())
		if data := text(); len(data) > 0 {
			r.Data = bytes.Clone(data)
		}
		log = append(log, r)
	}
	return log
}
