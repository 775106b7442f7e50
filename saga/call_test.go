package saga_test

import (
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

func TestCallTravelsAsText(t *testing.T) {
	c := saga.Call{Saga: "shop/order-17", Step: "pay", Undo: true, Attempt: 2, Epoch: 5}
	text, err := c.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "shop/order-17/pay undo 2 5", string(text))
	var back saga.Call
	require.NoError(t, back.UnmarshalText(text))
	assert.Equal(t, c, back)
	for _, bad := range []string{"", "a/b", "a/b do 1", "a/b did 1 1", "a/ do 1 1", "/b do 1 1", "a do 1 1", "a/b do -1 1", "a/b do 1 x", "a/b  do 1 1", "a/b do 1 1 "} {
		assert.Error(t, back.UnmarshalText([]byte(bad)), bad)
	}
}

// What is read is written as it was, but for leading zeros and signs of numbers;
// anything else is an error, never a panic.
func FuzzCallText(f *testing.F) {
	for _, seed := range []string{"order-17/pay do 2 5", "a/b/c undo 0 18446744073709551615", "a/b do 1", " / "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c, again saga.Call
		if c.UnmarshalText([]byte(text)) != nil {
			return
		}
		out, err := c.MarshalText()
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalText(out))
		assert.Equal(t, c, again)
	})
}
