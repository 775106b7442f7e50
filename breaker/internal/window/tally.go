package window

import (
	"sync"
	"sync/atomic"
)

// buckets is the number of cells of a tally, which is the number of buckets
// of a time window.
const buckets = 10

// A cell is one word: successes in bits 0 to 30, failures in bits 31 to 61,
// the seal in bit 63. One add counts a call, and one load reads both sides
// at the same instant, so no reader ever sees more failures than calls.
const (
	oneSuccess uint64 = 1
	oneFailure uint64 = 1 << 31
	side       uint64 = 1<<31 - 1
	sealed     uint64 = 1 << 63

	// A side that reaches 2^30 is halved together with the other, which
	// leaves the rate as it is. Adds that race with the halving have as
	// many again before they reach the neighbour.
	heavy = 1<<30 | 1<<61

	// hot is how many calls of a kind a cell takes before it is worth rows.
	hot uint64 = 1 << 14
)

// unpack returns the two sides of a cell.
func unpack(cell uint64) Totals {
	return Totals{Succeeded: cell & side, Failed: cell >> 31 & side}
}

// Tally counts calls since the beginning, without a window. It is also the
// store of cells that the windows are built on. The zero value is ready.
type Tally struct {
	base [buckets]atomic.Uint64
	rows atomic.Pointer[rows] // nil until a cell is hot

	mu     sync.Mutex // guards the moves from cells to gone, and what follows
	gone   Totals     // counted, and in no cell any more
	sealed bool
}

// Add counts one call, whenever it was and however slow.
func (t *Tally) Add(_ int64, failed, _ bool) bool { return t.add(0, failed) }

// Read returns nothing: a tally has no window.
func (t *Tally) Read(int64) Counts { return Counts{} }

// Totals returns all that was counted.
func (t *Tally) Totals() Totals {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.gone
	if t.sealed {
		return sum // the cells hold late comers only
	}
	for i := range buckets {
		sum = sum.Plus(t.cell(i))
	}
	return sum
}

// Seal ends the tally: what is added later is refused.
func (t *Tally) Seal() Totals {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.sealed {
		t.sealed = true
		for i := range buckets {
			t.swap(i, sealed)
		}
	}
	return t.gone
}

// add counts one call in cell i, unless the tally is sealed.
func (t *Tally) add(i int, failed bool) bool {
	one, shift := oneSuccess, uint(0)
	if failed {
		one, shift = oneFailure, 31
	}
	var v uint64
	if r := t.rows.Load(); r != nil {
		v = r.mine().cells[i].Add(one)
	} else {
		v = t.base[i].Add(one)
	}
	if v&(sealed|heavy) == 0 && v>>(shift&31)&side != hot { // &31: no check of the shift
		return true
	}
	return t.settle(i, v)
}

// settle looks after a cell whose value v is out of the ordinary.
func (t *Tally) settle(i int, v uint64) bool {
	if v&sealed != 0 {
		return false
	}
	// The call is counted, whatever happens to the tally from here on.
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.sealed:
	case v&heavy != 0:
		t.halve(i)
	case t.rows.Load() == nil:
		t.rows.Store(newRows())
	}
	return true
}

// cell returns what cell i holds.
func (t *Tally) cell(i int) Totals {
	sum := unpack(t.base[i].Load())
	if r := t.rows.Load(); r != nil {
		for j := range r.row {
			sum = sum.Plus(unpack(r.row[j].cells[i].Load()))
		}
	}
	return sum
}

// clear empties cell i.
func (t *Tally) clear(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.sealed {
		t.swap(i, 0)
	}
}

// swap moves cell i to gone and leaves v in each of its words. mu is held.
func (t *Tally) swap(i int, v uint64) {
	t.gone = t.gone.Plus(unpack(t.base[i].Swap(v)))
	if r := t.rows.Load(); r != nil {
		for j := range r.row {
			t.gone = t.gone.Plus(unpack(r.row[j].cells[i].Swap(v)))
		}
	}
}

// halve moves half of cell i to gone, if it is still heavy. mu is held.
func (t *Tally) halve(i int) {
	words := []*atomic.Uint64{&t.base[i]}
	if r := t.rows.Load(); r != nil {
		for j := range r.row {
			words = append(words, &r.row[j].cells[i])
		}
	}
	if !anyHeavy(words) {
		return // another call did it
	}
	for _, w := range words {
		for {
			v := w.Load()
			all := unpack(v)
			kept := Totals{all.Succeeded / 2, all.Failed / 2}
			if w.CompareAndSwap(v, kept.Succeeded*oneSuccess+kept.Failed*oneFailure) {
				t.gone.Succeeded += all.Succeeded - kept.Succeeded
				t.gone.Failed += all.Failed - kept.Failed
				break
			}
		}
	}
}

func anyHeavy(words []*atomic.Uint64) bool {
	for _, w := range words {
		if w.Load()&heavy != 0 {
			return true
		}
	}
	return false
}
