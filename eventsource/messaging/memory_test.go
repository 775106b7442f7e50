package messaging_test

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/eventsource/messaging"
)

func TestMemoryIsABroker(t *testing.T) {
	eventtest.TestBroker(t, eventtest.Caps{KeyOrder: true, CrashCount: true, Late: true}, func(*testing.T) eventtest.Broker {
		return messaging.NewMemory(messaging.Config{})
	})
}
