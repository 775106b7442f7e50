package saga_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// T29: a panic and a Goexit in OnEvent cost the saga nothing, and the events that
// follow are delivered.
func TestOnEventThatPanicsOrExits(t *testing.T) {
	for name, exit := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		inBubble(t, func(t *testing.T) {
			w := &world{}
			var seen atomic.Int32
			b := serve(t, saga.NewMemory(), saga.Config{OnEvent: func(saga.Record) {
				seen.Add(1)
				exit()
			}})
			synctest.Wait() // it serves
			s := register(t, b.c, chain(w, w.step("order", nil), w.step("pay", nil)))
			_, err := s.Run(t.Context(), "1", state{})
			require.NoError(t, err, name)
			synctest.Wait()
			assert.Equal(t, int32(5), seen.Load(), name) // start, begin and done of two steps
			assert.Equal(t, uint64(0), b.c.Stats().Dropped)
		})
	}
}
