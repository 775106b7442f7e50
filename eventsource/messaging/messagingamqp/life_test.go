package messagingamqp_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/brokertest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingamqp"
	"github.com/keelson-go/keelson/internal/engine"
)

// T39: a process whose handler kills it with SIGKILL gets the message again, by
// the queue's own count, until it is a dead letter; then those behind it.
func TestMessageThatKillsItsProcessIsADeadLetter(t *testing.T) {
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g", MaxAttempts: 3}
	if url := os.Getenv("MESSAGINGAMQP_VICTIM"); url != "" {
		b := open(t, messagingamqp.Config{URL: url})
		err := b.Subscribe(context.Background(), sub, func(context.Context, messaging.Delivery) error {
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Kill()
			select {}
		})
		t.Fatal(err)
	}
	url := engine.RabbitMQ(t).URL()
	b := open(t, messagingamqp.Config{URL: url})
	declare(t, b, "t", "g")
	if err := b.Publish(t.Context(), messaging.Message{ID: "poison", Topic: "t", Key: "k"}, messaging.Message{ID: "next", Topic: "t", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range sub.MaxAttempts {
		victim := exec.CommandContext(t.Context(), self, "-test.run", "^TestMessageThatKillsItsProcessIsADeadLetter$")
		victim.Env = append(os.Environ(), "MESSAGINGAMQP_VICTIM="+url)
		out, err := victim.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Exited() {
			t.Fatalf("the victim was not killed: %v\n%s", err, out)
		}
	}
	dead, handled := make(chan messaging.Delivery, 8), make(chan messaging.Delivery, 8)
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t.g.dead"}, Group: "parked"}, func(_ context.Context, d messaging.Delivery) error {
		dead <- d
		return nil
	})
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		handled <- d
		return nil
	})
	if d := brokertest.Await(t, "the dead letter", dead); d.ID != "poison" || d.Headers["keelson-attempts"] != "3" {
		t.Errorf("dead letter %v", d)
	}
	if d := brokertest.Await(t, "the one behind it", handled); d.ID != "next" {
		t.Errorf("then %v", d)
	}
}

// The node is killed and started again under load: what was confirmed arrives, and
// publishers and members find their way back by themselves.
func TestConfirmedMessagesSurviveAKilledNode(t *testing.T) {
	server := engine.RabbitMQ(t)
	b := open(t, messagingamqp.Config{URL: server.URL()})
	declare(t, b, "t", "g")
	var mu sync.Mutex
	seen := map[string]int{}
	news := make(chan struct{}, 1)
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g", Concurrency: 4, MaxAttempts: -1, Backoff: func(int) time.Duration { return 10 * time.Millisecond }}
	for range 2 {
		var n atomic.Int32
		brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
			if n.Add(1)%5 == 0 {
				return errors.New("once in a while")
			}
			mu.Lock()
			seen[d.ID]++
			mu.Unlock()
			select {
			case news <- struct{}{}:
			default:
			}
			return nil
		})
	}
	var confirmed []string
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprint(i)
			ctx, cancel := context.WithTimeout(context.Background(), brokertest.Patience)
			if b.Publish(ctx, messaging.Message{ID: id, Topic: "t", Key: fmt.Sprint("key-", i%16)}) == nil {
				confirmed = append(confirmed, id)
			} else {
				<-time.After(10 * time.Millisecond) // the node is away
			}
			cancel()
		}
	}()
	arrived := func(n int) {
		t.Helper()
		for {
			mu.Lock()
			got := len(seen)
			mu.Unlock()
			if got >= n {
				return
			}
			brokertest.Await(t, fmt.Sprintf("%d messages, %d did", n, got), news)
		}
	}
	for round := range 2 {
		mu.Lock()
		before := len(seen)
		mu.Unlock()
		arrived(before + 100)
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	mu.Lock()
	before := len(seen)
	mu.Unlock()
	arrived(before + 100)
	close(stop)
	<-stopped
	for _, id := range confirmed {
		for {
			mu.Lock()
			got := seen[id]
			mu.Unlock()
			if got > 0 {
				break
			}
			brokertest.Await(t, "message "+id, news)
		}
	}
	t.Logf("%d confirmed, %d arrived", len(confirmed), len(seen))
}

// A dead letter whose acknowledgement is lost with its session is published again
// when the message comes again, and not for ever.
func deadLetterOfALostSession(t *testing.T, url string) {
	proxy := engine.ProxyTo(t, strings.Trim(url[strings.Index(url, "@")+1:], "/"))
	b := open(t, messagingamqp.Config{URL: "amqp://guest:guest@" + proxy.Addr() + "/"})
	sub := messaging.Subscription{Topics: []string{"lost"}, Group: "g", MaxAttempts: 1, Backoff: func(int) time.Duration { return time.Millisecond }}
	declare(t, b, "lost", "g")
	runs, release, handled := make(chan struct{}, 8), make(chan struct{}), make(chan string, 8)
	letGo := sync.OnceFunc(func() { close(release) })
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		if d.ID == "poison" {
			runs <- struct{}{}
			<-release
			return errors.New("fails")
		}
		handled <- d.ID
		return nil
	})
	defer letGo()
	publish := func(m messaging.Message) {
		t.Helper()
		deadline := time.Now().Add(brokertest.Patience)
		for {
			err := b.Publish(t.Context(), m)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	publish(messaging.Message{ID: "poison", Topic: "lost", Key: "k"})
	brokertest.Await(t, "the handler", runs)
	proxy.Cut()
	publish(messaging.Message{ID: "behind", Topic: "lost", Key: "k"})
	letGo()
	brokertest.Await(t, "the one behind the poison", handled)
	publish(messaging.Message{ID: "end", Topic: "lost.g.dead"})
	dead := make(chan string, 4096)
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"lost.g.dead"}, Group: "parked"}, func(_ context.Context, d messaging.Delivery) error {
		dead <- d.ID
		return nil
	})
	poison := 0
	for brokertest.Await(t, "dead letters", dead) != "end" {
		poison++
	}
	if poison < 1 || poison > 2 {
		t.Errorf("%d dead letters of one message", poison)
	}
}
