package eventtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// ledger notes what was handled, per key, and whether a key ever ran twice.
type ledger struct {
	mu      sync.Mutex
	running map[string]int
	done    map[string][]string
	twice   string
}

func newLedger() *ledger { return &ledger{running: map[string]int{}, done: map[string][]string{}} }

func (l *ledger) enter(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running[key]++; l.running[key] > 1 {
		l.twice = key
	}
}

func (l *ledger) leave(d messaging.Delivery, handled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[d.Key]--
	if handled {
		l.done[d.Key] = append(l.done[d.Key], d.ID)
	}
}

const keys, perKey = 5, 12

// keyed runs messages of five keys, of which every third fails at first, through
// the members, and checks that each key was handled in order, one at a time.
func keyed(s *suite, members, concurrency int) {
	topic, l, in := s.topic(), newLedger(), s.inbox()
	sub := subscription(topic)
	sub.Concurrency = concurrency
	for range members {
		s.join(sub, func(ctx context.Context, d messaging.Delivery) error {
			l.enter(d.Key)
			for range rand.N(50) { // let the others run into this one
				runtime.Gosched()
			}
			fails := d.Attempt == 1 && d.ID[len(d.ID)-1]%3 == 0
			l.leave(d, !fails)
			if fails {
				return errFails
			}
			return in.handle(ctx, d)
		})
	}
	want := map[string][]string{}
	for i := range perKey {
		for k := range keys {
			key, id := fmt.Sprint("key-", k), fmt.Sprint(k, "-", i)
			want[key] = append(want[key], id)
			s.publish(messaging.Message{ID: id, Topic: topic, Key: key})
		}
	}
	in.take(keys * perKey)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.twice != "" {
		s.Errorf("two messages of %s at once", l.twice)
	}
	for key, ids := range want {
		if !slices.Equal(l.done[key], ids) {
			s.Errorf("%s was handled in the order %v", key, l.done[key])
		}
	}
}

func keyOrderInMember(s *suite)    { keyed(s, 1, 4) }
func keyOrderOverMembers(s *suite) { keyed(s, 3, 2) }

func otherKeysGoOn(s *suite) {
	topic, in := s.topic(), s.inbox()
	sub := subscription(topic)
	sub.Backoff = func(int) time.Duration { return 300 * time.Millisecond }
	s.join(sub, func(ctx context.Context, d messaging.Delivery) error {
		if d.ID == "a1" && d.Attempt == 1 {
			return errFails
		}
		return in.handle(ctx, d)
	})
	for _, id := range []string{"a1", "a2", "b1", "b2"} {
		s.publish(messaging.Message{ID: id, Topic: topic, Key: id[:1]})
	}
	var order []string
	for _, d := range in.take(4) {
		order = append(order, d.ID)
	}
	if want := []string{"b1", "b2", "a1", "a2"}; !slices.Equal(order, want) {
		s.Errorf("handled %v, want %v", order, want)
	}
}

func concurrencyIsReached(s *suite) {
	const n = 4
	topic, in := s.topic(), s.inbox()
	sub := subscription(topic)
	sub.Concurrency = n
	release := make(chan struct{})
	arrived := make(chan int32, 3*n)
	var running atomic.Int32
	s.join(sub, func(ctx context.Context, d messaging.Delivery) error {
		arrived <- running.Add(1)
		<-release
		running.Add(-1)
		return in.handle(ctx, d)
	})
	for i := range 3 * n {
		s.publish(messaging.Message{ID: fmt.Sprint(i), Topic: topic})
	}
	for range n {
		await(s, "all handlers run at once", arrived)
	}
	s.others() // time enough for one too many
	close(release)
	in.take(3 * n)
	for range 2 * n {
		if beside := <-arrived; beside > n {
			s.Errorf("%d handlers at once, want at most %d", beside, n)
		}
	}
}

// others sends messages from here to a member of their own and back, one after
// another, and waits a moment more: what else was due by then has had its turn,
// also where this process had one processor of a busy machine to itself.
func (s *suite) others() {
	s.Helper()
	topic, in := s.topic(), s.inbox()
	m := s.join(subscription(topic), in.handle)
	for i := range 20 {
		s.publish(messaging.Message{ID: fmt.Sprint("other-", i), Topic: topic})
		in.next()
	}
	m.leave()
	<-time.After(turn)
}

const turn = 100 * time.Millisecond
