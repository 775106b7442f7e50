package outbox

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/assert"
)

// Lanes are in stored rows. Golden: fmix64(FNV-1a-64(key or id)) mod 16.
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
