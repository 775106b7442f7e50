package index

import "sync/atomic"

// Table maps hashes to numbers from 1; who asks tells which of the numbers
// under a hash is the one. Nothing is ever removed. The zero Table is empty.
//
// Why not a Go map: readers would need a lock, and the keys would be held
// twice. It is split by the top bits of the hash, so that growing stops the
// writer for one part in 64.
type Table struct {
	parts [1 << partBits]atomic.Pointer[part]
}

const partBits = 6

// part is open addressing with linear probing. A slot holds the low half of
// the hash, and below it the number; 0 is free.
type part struct {
	slots []atomic.Uint64
	used  int // the writer's
}

func (t *Table) part(hash uint64) *part { return t.parts[hash>>(64-partBits)].Load() }

// at is the slot that i wraps to.
func (p *part) at(i uint32) uint64 { return p.slots[int(i)&(len(p.slots)-1)].Load() }

// Find returns a number that was added under hash and that is approves.
func (t *Table) Find(hash uint64, is func(number uint32) bool) (number uint32, ok bool) {
	p := t.part(hash)
	if p == nil {
		return 0, false
	}
	for i := uint32(hash); ; i++ {
		slot := p.at(i)
		if slot == 0 {
			return 0, false
		}
		if uint32(slot>>32) == uint32(hash) && is(uint32(slot)) {
			return uint32(slot), true
		}
	}
}

// Add adds number under hash. One writer at a time; it must have found that
// the number is not there.
func (t *Table) Add(hash uint64, number uint32) {
	at := &t.parts[hash>>(64-partBits)]
	p := at.Load()
	if p == nil || p.used >= len(p.slots)/4*3 {
		p = p.grown()
		at.Store(p)
	}
	p.put(hash<<32 | uint64(number))
	p.used++
}

// put stores into the first free slot, of which there is one.
func (p *part) put(slot uint64) {
	mask := len(p.slots) - 1
	i := int(slot >> 32)
	for p.slots[i&mask].Load() != 0 {
		i++
	}
	p.slots[i&mask].Store(slot)
}

// grown leaves p to the readers that still probe it.
func (p *part) grown() *part {
	if p == nil {
		return &part{slots: make([]atomic.Uint64, 8)}
	}
	g := &part{slots: make([]atomic.Uint64, 2*len(p.slots)), used: p.used}
	for i := range p.slots {
		if slot := p.slots[i].Load(); slot != 0 {
			g.put(slot)
		}
	}
	return g
}
