package retry

import (
	"testing"
	"unsafe"
)

// FixDraw makes every wait of the test draw u, so that virtual time is exact.
func FixDraw(t testing.TB, u float64) {
	old := draw
	draw = func() float64 { return u }
	t.Cleanup(func() { draw = old })
}

// CountDraws returns the number of draws from now on.
func CountDraws(t testing.TB) *int {
	old, n := draw, new(int)
	draw = func() float64 { *n++; return old() }
	t.Cleanup(func() { draw = old })
	return n
}

// BudgetLayout gives the offsets in a TokenBudget of what is written on each
// change, of what is only read, and of the counters, and its size.
func BudgetLayout() (word, fixed, counters, size uintptr) {
	var b TokenBudget
	return unsafe.Offsetof(b.word), unsafe.Offsetof(b.began), unsafe.Offsetof(b.withdrawn), unsafe.Sizeof(b)
}
