package sharding

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// ID names a shard for as long as its data exists: "users-3", never an
// address, which changes when the shard moves to another machine. It has 1 to
// 255 bytes of UTF-8 without control characters, so it fits into a header.
type ID string

// maxID is the longest ID, in bytes.
const maxID = 255

// check returns what is wrong with id, without a prefix.
func (id ID) check() error {
	switch {
	case id == "":
		return fmt.Errorf("shard ID is empty")
	case len(id) > maxID:
		return fmt.Errorf("shard ID %.20q... has %d bytes, at most %d are allowed", string(id), len(id), maxID)
	case !utf8.ValidString(string(id)):
		return fmt.Errorf("shard ID %q is not valid UTF-8", string(id))
	}
	for _, r := range string(id) {
		if unicode.IsControl(r) {
			return fmt.Errorf("shard ID %q holds a control character", string(id))
		}
	}
	return nil
}

// Shard is a member of a placement.
type Shard struct {
	ID ID `json:"id"`

	// Weight is the shard's part of the keys, relative to the other shards.
	// Zero means 1; to own nothing use Drain.
	Weight uint32 `json:"weight,omitempty"`

	// Zone is the failure domain, such as a data centre or a rack: the owners
	// of one key are spread over zones. Empty means a zone of its own.
	Zone string `json:"zone,omitempty"`

	// Drain takes all keys from the shard. It is still a member: slots may be
	// Assigned to it, and it may be the giver of a move.
	Drain bool `json:"drain,omitempty"`
}

// weight is Weight with its default.
func (s *Shard) weight() uint32 { return max(s.Weight, 1) }
