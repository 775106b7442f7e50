package messagingkafka_test

import (
	"os"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingkafka"
	"github.com/twmb/franz-go/pkg/kfake"
)

// seeds are those of the cluster that KEELSON_KAFKA_URL names, host:port with
// commas between, or of one in this process that speaks the protocol.
func seeds(t *testing.T) []string {
	t.Helper()
	if url := os.Getenv("KEELSON_KAFKA_URL"); url != "" {
		return strings.Split(url, ",")
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

func TestKafkaIsABroker(t *testing.T) {
	eventtest.TestBroker(t, eventtest.Caps{KeyOrder: true, Late: true}, func(t *testing.T) eventtest.Broker {
		b, err := messagingkafka.New(messagingkafka.Config{Brokers: seeds(t), Partitions: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	})
}
