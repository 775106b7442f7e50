package saga

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
)

// Who keeps the context of a call that has returned finds it ended, whether somebody had
// asked for it before or not, and no timer of it is left.
func TestContextOfAReturnedCall(t *testing.T) {
	for name, before := range map[string]func(*callContext){
		"never asked for": func(*callContext) {},
		"asked for":       func(c *callContext) { c.Done() },
		"cancelled late":  func(c *callContext) { c.release(); c.cancel(ErrFenced) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := &callContext{values: t.Context(), deadline: time.Now().Add(time.Hour)}
			before(c)
			c.release()
			c.cancel(ErrFenced)
			assert.ErrorIs(t, c.Err(), context.Canceled)
			assert.Equal(t, errReturned, context.Cause(c))
			<-c.Done()
			assert.True(t, c.late.stop == nil || name == "asked for", name+": a timer was begun")
		})
	}
}
