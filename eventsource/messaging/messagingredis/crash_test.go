package messagingredis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/brokertest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// T39: a process whose handler kills it with SIGKILL gets the message again, by
// Redis's own count, until it is a dead letter; then those behind it.
func TestMessageThatKillsItsProcessIsADeadLetter(t *testing.T) {
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g", MaxAttempts: 3}
	config := messagingredis.Config{MinIdle: 300 * time.Millisecond}
	if addr := os.Getenv("MESSAGINGREDIS_VICTIM"); addr != "" {
		err := messagingredis.New(connect(t, addr), config).Subscribe(context.Background(), sub, func(context.Context, messaging.Delivery) error {
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Kill()
			select {}
		})
		t.Fatal(err)
	}
	addr := engine.Redis(t).Addr()
	b := messagingredis.New(connect(t, addr), config)
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "poison", Topic: "t", Key: "k"}))
	self, err := os.Executable()
	require.NoError(t, err)
	for range sub.MaxAttempts {
		victim := exec.CommandContext(t.Context(), self, "-test.run", "^TestMessageThatKillsItsProcessIsADeadLetter$")
		victim.Env = append(os.Environ(), "MESSAGINGREDIS_VICTIM="+addr)
		out, err := victim.CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok && !exit.Exited(), fmt.Sprintf("the victim was not killed: %v\n%s", err, out))
	}
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "next", Topic: "t", Key: "k"}))
	dead, handled := make(chan messaging.Delivery, 8), make(chan messaging.Delivery, 8)
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t.g.dead"}, Group: "support"}, func(_ context.Context, d messaging.Delivery) error {
		dead <- d
		return nil
	})
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		handled <- d
		return nil
	})
	letter := brokertest.Await(t, "the dead letter", dead)
	assert.Equal(t, "poison 3", letter.ID+" "+letter.Headers["keelson-attempts"])
	assert.Equal(t, "next", brokertest.Await(t, "the one behind it", handled).ID)
}

// What another member has taken over from one that seemed dead is not handled by
// both: the first forgets it when it finds out.
func TestEntriesTakenByOthersAreForgotten(t *testing.T) {
	client := connect(t, engine.Redis(t).Addr())
	b := messagingredis.New(client, messagingredis.Config{MinIdle: 300 * time.Millisecond})
	begun, release, handled := make(chan string, 8), make(chan struct{}), make(chan string, 8)
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	tries := 0
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t"}, Group: "g", Backoff: func(int) time.Duration { return time.Millisecond }}, func(_ context.Context, d messaging.Delivery) error {
		if d.ID == "stolen" {
			tries++
			begun <- d.ID
			<-release
			return errors.New("fails")
		}
		handled <- d.ID
		return nil
	})
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "stolen", Topic: "t"}))
	brokertest.Await(t, "the handler", begun)
	// Another has it, and lives: it renews until this one has seen that.
	pending, err := client.XPending(t.Context(), "keelson:t", "g").Result()
	require.NoError(t, err)
	begin, err := client.Time(t.Context()).Result()
	require.NoError(t, err)
	for now := begin; now.Sub(begin) < time.Second; {
		require.NoError(t, client.Do(t.Context(), "XCLAIM", "keelson:t", "g", "other", 0, pending.Lower).Err())
		now, err = client.Time(t.Context()).Result()
		require.NoError(t, err)
	}
	letGo()
	require.NoError(t, client.XAck(t.Context(), "keelson:t", "g", pending.Lower).Err())
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "end", Topic: "t"}))
	assert.Equal(t, "end", brokertest.Await(t, "the next message", handled))
	assert.Equal(t, 1, tries)
}
