package messagingkafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/brokertest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingkafka"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// open returns a broker whose members notice each other, and their deaths, soon.
func open(t *testing.T, addrs []string, partitions int32) *messagingkafka.Broker {
	t.Helper()
	b, err := messagingkafka.New(messagingkafka.Config{Brokers: addrs, Partitions: partitions, Options: []kgo.Opt{
		kgo.HeartbeatInterval(100 * time.Millisecond), kgo.SessionTimeout(2 * time.Second),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func publish(t *testing.T, b *messagingkafka.Broker, msgs ...messaging.Message) {
	t.Helper()
	if err := b.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
}

func fake(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// T38: message 1 is at its handler, 0, 2 and 3 are acknowledged, and the process
// is killed: the group goes on with 1.
func TestKilledMemberLosesNoUnacknowledgedMessage(t *testing.T) {
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g", Concurrency: 4}
	if addrs := os.Getenv("MESSAGINGKAFKA_VICTIM"); addrs != "" {
		acked := make(chan string, 8)
		sub.OnEvent = func(e messaging.Event) { acked <- e.ID }
		go func() {
			_ = open(t, strings.Split(addrs, ","), 1).Subscribe(context.Background(), sub, func(_ context.Context, d messaging.Delivery) error {
				if d.ID == "1" {
					select {}
				}
				return nil
			})
		}()
		for range 3 {
			brokertest.Await(t, "an acknowledgement", acked)
		}
		fmt.Println("acknowledged")
		select {}
	}
	cluster := fake(t)
	committed := make(chan int64, 64)
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		committed <- r.(*kmsg.OffsetCommitRequest).Topics[0].Partitions[0].Offset
		return nil, nil, false
	})
	b := open(t, cluster.ListenAddrs(), 1)
	for id := range 4 {
		publish(t, b, messaging.Message{ID: fmt.Sprint(id), Topic: "t"})
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(t.Context(), self, "-test.run", "^TestKilledMemberLosesNoUnacknowledgedMessage$")
	victim.Env = append(os.Environ(), "MESSAGINGKAFKA_VICTIM="+strings.Join(cluster.ListenAddrs(), ","))
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		text := make([]byte, 1024)
		n, _ := out.Read(text)
		said <- string(text[:n])
	}()
	if text := brokertest.Await(t, "the victim acknowledges", said); !strings.HasPrefix(text, "acknowledged") {
		t.Fatal(text)
	}
	if offset := brokertest.Await(t, "a commit", committed); offset != 1 {
		t.Errorf("committed %d: 1 was never acknowledged", offset)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	handled := make(chan string, 8)
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		handled <- d.ID
		return nil
	})
	var again []string
	for range 3 {
		again = append(again, brokertest.Await(t, "what the victim did not have committed", handled))
	}
	slices.Sort(again)
	if !slices.Equal(again, []string{"1", "2", "3"}) {
		t.Errorf("after the kill the group handled %v", again)
	}
}

// T38: while handlers run, half of the partitions go to another member. What is
// acknowledged until then is committed and does not come again; what fails or has
// not begun is the other's alone.
func TestRebalanceCommitsWhatIsAcknowledged(t *testing.T) {
	for name, result := range map[string]error{"acknowledged": nil, "failed": errors.New("fails")} {
		t.Run(name, func(t *testing.T) { rebalance(t, result) })
	}
}

func rebalance(t *testing.T, result error) {
	const partitions = 4
	b := open(t, fake(t).ListenAddrs(), partitions)
	// One key per message of the first row; its followers wait behind it.
	keys := keysOf(partitions)
	leaving := make(chan struct{}, 16)
	messagingkafka.OnRevoke(t, func() { leaving <- struct{}{} })
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g", Concurrency: partitions, Backoff: func(int) time.Duration { return time.Millisecond }}
	begun, release, old, young := make(chan string, 64), make(chan struct{}), make(chan string, 64), make(chan string, 64)
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	moved := map[string]bool{}
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		if strings.HasSuffix(d.ID, "first") && d.Attempt == 1 {
			begun <- d.ID
			<-release
			old <- d.ID
			return result
		}
		old <- d.ID
		return nil
	})
	for _, key := range keys {
		for _, row := range []string{"first", "second"} {
			publish(t, b, messaging.Message{ID: key + " " + row, Topic: "t", Key: key})
		}
	}
	for range partitions {
		brokertest.Await(t, "all handlers run", begun)
	}
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		young <- d.ID
		return nil
	})
	brokertest.Await(t, "partitions are about to go", leaving)
	letGo()

	want := 2 * partitions // the second member's "first" come on top, if they failed
	got := map[string][]string{}
	for settled := 0; settled < want; {
		select {
		case id := <-old:
			got[id] = append(got[id], "old")
			if !strings.HasSuffix(id, "first") || result == nil || len(got[id]) > 1 {
				settled++
			}
		case id := <-young:
			got[id] = append(got[id], "young")
			moved[strings.Fields(id)[0]] = true
			settled++
		case <-time.After(brokertest.Patience):
			t.Fatalf("only %v", got)
		}
	}
	if len(moved) == 0 || len(moved) == partitions {
		t.Errorf("%d of %d partitions moved", len(moved), partitions)
	}
	for id, by := range got {
		key, row, _ := strings.Cut(id, " ")
		want := []string{"old"}
		switch {
		case row == "first" && result != nil && moved[key]:
			want = []string{"old", "young"}
		case row == "first" && result != nil:
			want = []string{"old", "old"}
		case row == "second" && moved[key]:
			want = []string{"young"}
		}
		if !slices.Equal(by, want) {
			t.Errorf("%s was handled by %v, want %v", id, by, want)
		}
	}
	if len(old)+len(young) > 0 {
		t.Error("something was handled once too often")
	}
}

// keysOf finds a key for each partition of topic "t".
func keysOf(partitions int) []string {
	var keys []string
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	taken := map[int]bool{}
	for i := 0; len(keys) < partitions; i++ {
		key := fmt.Sprint("key-", i)
		if p := byKey.Partition(&kgo.Record{Key: []byte(key)}, partitions); !taken[p] {
			taken[p] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// Records that are on their way cannot be called back, but who waits for them can
// go, and may then reuse the body.
func TestPublishReturnsWhenItsContextEnds(t *testing.T) {
	cluster := fake(t)
	b := open(t, cluster.ListenAddrs(), 1)
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		arrived <- struct{}{}
		<-release
		return nil, nil, false
	})
	cause := errors.New("no patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	published, body := make(chan error, 1), []byte("as sent")
	go func() { published <- b.Publish(ctx, messaging.Message{ID: "1", Topic: "t", Body: body}) }()
	brokertest.Await(t, "the cluster has the message", arrived)
	cancel(cause)
	if err := brokertest.Await(t, "Publish returns", published); !errors.Is(err, cause) {
		t.Errorf("Publish returned %v", err)
	}
	clear(body)
	close(release)
	handled := make(chan string, 8)
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t"}, Group: "g"}, func(_ context.Context, d messaging.Delivery) error {
		handled <- string(d.Body)
		return nil
	})
	if got := brokertest.Await(t, "the message", handled); got != "as sent" {
		t.Errorf("the body is %q", got)
	}
}

func TestClosedBrokerSaysSo(t *testing.T) {
	b := open(t, fake(t).ListenAddrs(), 1)
	running := make(chan error, 1)
	joined := make(chan struct{}, 1)
	publish(t, b, messaging.Message{Topic: "t"})
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g"}
	nothing := func(context.Context, messaging.Delivery) error { joined <- struct{}{}; return nil }
	go func() { running <- b.Subscribe(context.Background(), sub, nothing) }()
	brokertest.Await(t, "the subscription runs", joined)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a running Subscribe": <-running,
		"Subscribe":           b.Subscribe(t.Context(), sub, nothing),
		"Publish":             b.Publish(t.Context(), messaging.Message{Topic: "t"}),
	} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
