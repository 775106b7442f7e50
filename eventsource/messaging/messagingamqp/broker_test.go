package messagingamqp_test

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingamqp"
	"github.com/keelson-go/keelson/internal/engine"
)

func open(t *testing.T, cfg messagingamqp.Config) *messagingamqp.Broker {
	t.Helper()
	b, err := messagingamqp.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestRabbitMQIsABroker(t *testing.T) {
	url := engine.RabbitMQ(t).URL()
	t.Run("quorum", func(t *testing.T) {
		eventtest.TestBroker(t, eventtest.Caps{CrashCount: true}, func(t *testing.T) eventtest.Broker {
			return open(t, messagingamqp.Config{URL: url})
		})
	})
	t.Run("classic", func(t *testing.T) {
		eventtest.TestBroker(t, eventtest.Caps{}, func(t *testing.T) eventtest.Broker {
			return open(t, messagingamqp.Config{URL: url, Classic: true})
		})
	})
}
