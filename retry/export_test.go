package retry

import "testing"

// FixDraw makes every wait of the test draw u, so that virtual time is exact.
func FixDraw(t testing.TB, u float64) {
	old := draw
	draw = func() float64 { return u }
	t.Cleanup(func() { draw = old })
}
