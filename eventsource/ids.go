package eventsource

import (
	"hash/maphash"

	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/internal/index"
)

// ids finds events by id. Those that the store made carry their position and
// need no index; those of callers are in a table of hashes. What either says
// is compared with the record.
type ids struct {
	maker id.Maker
	seed  maphash.Seed
	mask  uint64
	table index.Table
}

// storedID says how an id is stored.
type storedID struct {
	kind byte
	uuid id.UUID
}

func newIDs(hashMask uint64) ids {
	return ids{maker: id.NewMaker(), seed: maphash.MakeSeed(), mask: hashMask}
}

func (x *ids) hash(text string) uint64 { return maphash.String(x.seed, text) & x.mask }

// kindOf says how to store the id of an event to come.
func kindOf(text string) storedID {
	if text == "" {
		return storedID{kind: idMade}
	}
	if u, ok := id.Parse(text); ok {
		return storedID{idUUID, u}
	}
	return storedID{kind: idText}
}

// made returns the id of an event to which the store gave one.
func (x *ids) made(pos uint32, r record) id.UUID { return x.maker.At(pos, r.micros()/1000) }

// find returns the position of the event with this id, among those up to last.
func (x *ids) find(s *slabs, text string, last uint32) (pos uint32, ok bool) {
	u, isUUID := id.Parse(text)
	if isUUID {
		if pos, ok := x.maker.Position(u); ok && pos > 0 && pos <= last {
			if r := s.at(pos); r[24] == idMade && x.made(pos, r) == u {
				return pos, true
			}
		}
	}
	return x.table.Find(x.hash(text), func(pos uint32) bool {
		if pos > last { // being written now
			return false
		}
		kind, stored, _ := s.at(pos).id()
		return kind == idUUID && isUUID && id.UUID(stored) == u || kind == idText && string(stored) == text
	})
}
