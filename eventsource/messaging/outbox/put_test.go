package outbox

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/assert"
)

// Lanes are in stored rows, and relays of all versions must agree on them:
// fmix64(FNV-1a-64(key or id)) mod 16, made by a program of its own.
func TestLanesAreFrozen(t *testing.T) {
	for name, want := range map[string]uint64{
		"order-17":                             15,
		"order-18":                             2,
		"a":                                    11,
		"κλειδί":                               0,
		"018f2f6e-7c1a-7bcd-9e00-0123456789ab": 2,
		"customer:42":                          0,
	} {
		assert.Equal(t, want, laneOf(&messaging.Message{Key: name, ID: "another"}), name)
		assert.Equal(t, want, laneOf(&messaging.Message{ID: name}), name)
	}
}

func TestMessagesOfAKeyShareALane(t *testing.T) {
	for _, id := range []string{"1", "2", "3"} {
		assert.Equal(t, laneOf(&messaging.Message{Key: "order-17"}), laneOf(&messaging.Message{ID: id, Key: "order-17"}))
	}
	assert.Equal(t, laneOf(&messaging.Message{Key: "order-17"}), laneOf(&messaging.Message{ID: "order-17"}))
	counts := make(map[uint64]int)
	for i := range 1600 {
		counts[laneOf(&messaging.Message{Key: string(rune('a' + i))})]++
	}
	assert.Equal(t, lanes, len(counts))
}
