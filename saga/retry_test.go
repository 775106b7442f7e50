package saga

import (
	"math"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
)

// T27: the backoff at attempt 1,000 stays within Cap, without overflow, and is
// jittered.
func TestBackoffStaysWithinCap(t *testing.T) {
	r := Retry{}.resolved(false)
	for _, attempts := range []int{1, 2, 10, 62, 63, 64, 65, 1000, math.MaxInt} {
		waits := map[time.Duration]bool{}
		for range 100 {
			w := r.wait(attempts)
			assert.True(t, w >= 0 && w < time.Minute, w.String())
			waits[w] = true
		}
		assert.True(t, len(waits) > 50)
	}
	assert.True(t, r.wait(1) < 100*time.Millisecond)
}
