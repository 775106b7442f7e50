package cacheredis

import (
	"encoding/binary"
	"errors"

	"github.com/keelson-go/keelson/cache"
)

// A message on the wire, without Seq and Generation, which the script adds:
// format 1, flags (1 soft, 2 clear), origin (8 bytes), then the keys and the
// tags, each list and each string after its length as a varint.
const (
	messageFormat = 1

	flagSoft  = 1
	flagClear = 2
)

func encodeMessage(m cache.Message) []byte {
	size := 10 + 2*binary.MaxVarintLen64
	for _, list := range [][]string{m.Keys, m.Tags} {
		for _, s := range list {
			size += len(s) + 3
		}
	}
	b := make([]byte, 0, size)
	b = append(b, messageFormat, byte(flag(m.Soft)*flagSoft|flag(m.Clear)*flagClear))
	b = binary.BigEndian.AppendUint64(b, m.Origin)
	for _, list := range [][]string{m.Keys, m.Tags} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

var errMessage = errors.New("cacheredis: a message on the bus cannot be read")

// decodeMessage is the other way round. Whoever cannot read a message has missed
// one.
func decodeMessage(b string) (m cache.Message, err error) {
	if len(b) < 10 || b[0] != messageFormat || b[1] > flagSoft|flagClear {
		return m, errMessage
	}
	m.Soft, m.Clear = b[1]&flagSoft != 0, b[1]&flagClear != 0
	m.Origin = binary.BigEndian.Uint64([]byte(b[2:10]))
	rest := b[10:]
	var ok bool
	for _, list := range []*[]string{&m.Keys, &m.Tags} {
		if *list, rest, ok = cutStrings(rest); !ok {
			return cache.Message{}, errMessage
		}
	}
	if rest != "" {
		return cache.Message{}, errMessage
	}
	return m, nil
}

func cutStrings(b string) (list []string, rest string, ok bool) {
	n, b, ok := cutUvarint(b)
	if !ok || n > uint64(len(b)) { // each takes a byte at least
		return nil, "", false
	}
	for range n {
		var size uint64
		if size, b, ok = cutUvarint(b); !ok || size > uint64(len(b)) {
			return nil, "", false
		}
		list, b = append(list, b[:size]), b[size:]
	}
	return list, b, true
}

func cutUvarint(b string) (n uint64, rest string, ok bool) {
	n, size := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
	if size <= 0 {
		return 0, "", false
	}
	return n, b[size:], true
}
