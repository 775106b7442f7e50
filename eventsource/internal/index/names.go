package index

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// Names numbers strings 1, 2, 3 ... and keeps a list of positions for each.
type Names struct {
	seed  maphash.Seed
	mask  uint64
	names Chunks[name]
	texts Chunks[string]
	n     atomic.Uint32
	table Table

	recent uint32 // the writer's: what it asked for last
}

// name is what an append looks at: one line of memory, if the text is short.
type name struct {
	list  List
	size  uint8    // of the text; 24 if it is longer than short
	short [23]byte // the text, or how it begins
}

// is tells whether the text of a number is this one.
func (n *Names) is(number uint32, text string) bool {
	e := n.names.At(number)
	if len(text) <= len(e.short) {
		return int(e.size) == len(text) && string(e.short[:len(text)]) == text
	}
	return *n.texts.At(number) == text
}

func (n *Names) init(mask uint64) { n.seed, n.mask = maphash.MakeSeed(), mask }

// Number returns the number of text, 0 if it has none.
func (n *Names) Number(text string) uint32 {
	hash := n.hash(text)
	p := n.table.part(hash)
	if p == nil {
		return 0
	}
	for i := uint32(hash); ; i++ { // as Table.Find, without a call for each
		slot := p.at(i)
		if slot == 0 {
			return 0
		}
		if uint32(slot>>32) == uint32(hash) && n.is(uint32(slot), text) {
			return uint32(slot)
		}
	}
}

// Known is Number for the writer, who often asks for the same text again: an
// append looks at the stream that it writes, and most events have a type that the
// one before had. To compare costs a third of a look into the table.
func (n *Names) Known(text string) uint32 {
	if n.recent != 0 && n.is(n.recent, text) {
		return n.recent
	}
	number := n.Number(text)
	if number != 0 {
		n.recent = number
	}
	return number
}

// Expect tells what Known and Intern will be asked for: a number that Number has
// returned, before the writer's turn.
func (n *Names) Expect(number uint32) {
	if number != 0 {
		n.recent = number
	}
}

// Intern returns the number of text, and gives it the next one if it has none.
// One writer at a time.
func (n *Names) Intern(text string) uint32 {
	if number := n.Known(text); number != 0 {
		return number
	}
	number := n.n.Load() + 1
	n.names.Grow(number)
	n.texts.Grow(number)
	*n.texts.At(number) = strings.Clone(text) // not a part of something large
	e := n.names.At(number)
	e.size = uint8(min(len(text), len(e.short)+1))
	copy(e.short[:], text)
	n.table.Add(n.hash(text), number)
	n.n.Store(number)
	return number
}

// Find returns the list of text, nil if it has no number.
func (n *Names) Find(text string) *List {
	if number := n.Number(text); number != 0 {
		return n.List(number)
	}
	return nil
}

// Text returns the string of a number that Intern has returned.
func (n *Names) Text(number uint32) string { return *n.texts.At(number) }

// List returns the list of a number that Intern has returned.
func (n *Names) List(number uint32) *List { return &n.names.At(number).list }

// Len returns how many names there are.
func (n *Names) Len() int { return int(n.n.Load()) }

func (n *Names) hash(text string) uint64 { return maphash.String(n.seed, text) & n.mask }
