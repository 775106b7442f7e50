package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
)

// T23: 100 requests in any 60 seconds: not one more after a refill, as a token bucket
// has it, and not 200 around the edge of a minute. Refused ones do not count.
func TestAHundredInAnyMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{}
		passed := func(n int) (ok int) {
			for range n {
				if _, err := m.Allow(t.Context()); err == nil {
					ok++
				} else {
					assert.ErrorIs(t, err, breaker.ErrRejected)
				}
			}
			return ok
		}
		assert.True(t, m.Idle())
		assert.Equal(t, 50, passed(50))
		time.Sleep(30 * time.Second)
		assert.Equal(t, 50, passed(60), "the hundredth")
		assert.Equal(t, 30*time.Second, m.RetryAfter())
		time.Sleep(30*time.Second - time.Nanosecond)
		assert.Equal(t, 0, passed(10))
		time.Sleep(time.Nanosecond)
		assert.Equal(t, 50, passed(60), "the first fifty are a minute old")
		assert.False(t, m.Idle())
		time.Sleep(time.Minute)
		assert.True(t, m.Idle())
		assert.Equal(t, 100, passed(200))
	})
}

// The reference is a list of all that passed, looked through each time.
func TestTheMeterAgreesWithAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{}
		var list []time.Time
		for i := range 3000 {
			time.Sleep(time.Duration(i*i%97) * 17 * time.Millisecond)
			young := 0
			for _, at := range list {
				if time.Since(at) < within {
					young++
				}
			}
			_, err := m.Allow(t.Context())
			assert.Equal(t, young < most, err == nil, "request %d, %d within a minute", i, young)
			if err == nil {
				list = append(list, time.Now())
			}
		}
	})
}
