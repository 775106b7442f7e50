package cachetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// TestBus runs the conformance suite of [cache.Bus]. open returns one that shares
// nothing with others; clean-up is up to t.Cleanup. The suite takes a few seconds
// of real time.
func TestBus(t *testing.T, open func(t *testing.T) cache.Bus) {
	t.Helper()
	for _, c := range busCases {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var busCases = []struct {
	name string
	test func(t testing.TB, b cache.Bus)
}{
	{"a position comes first, then what is published", positionFirst},
	{"a message comes as it was sent", messageWhole},
	{"positions are dense and all see one order", denseOrder},
	{"the position is told again and again", heartbeats},
	{"messages in between are found again, or it is a gap", resume},
	{"nothing in between is no gap", resumeIdle},
	{"a position ahead of the log is a gap", aheadOfLog},
	{"a slow subscriber misses nothing", slowSubscriber},
	{"one message at a time", oneAtATime},
	{"a subscription ends with its context", subscriptionEnds},
	{"ended contexts are not ignored", endedBusCalls},
}

// sub is a subscription in the background.
type sub struct {
	t        testing.TB
	first    cache.Message
	messages chan cache.Message
	last     uint64 // position of the last message taken
	cancel   context.CancelCauseFunc
	ended    chan error
}

var errLeave = errors.New("cachetest: the subscriber leaves")

// listen subscribes and returns when the first message is there.
func listen(t testing.TB, b cache.Bus, after uint64) *sub {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &sub{t: t, messages: make(chan cache.Message, 10_000), cancel: cancel, ended: make(chan error, 1)}
	go func() { s.ended <- b.Subscribe(ctx, after, func(m cache.Message) { s.messages <- m }) }()
	t.Cleanup(func() { cancel(errLeave) })
	s.first = s.next()
	if !bare(s.first) {
		t.Fatalf("the first message is %+v, want one that has only Seq", s.first)
	}
	s.last = s.first.Seq
	return s
}

// bare tells a position from an invalidation.
func bare(m cache.Message) bool { return same(m, cache.Message{Seq: m.Seq}) }

func same(a, b cache.Message) bool {
	return a.Seq == b.Seq && a.Generation == b.Generation && a.Origin == b.Origin && a.Soft == b.Soft && a.Clear == b.Clear &&
		slices.Equal(a.Keys, b.Keys) && slices.Equal(a.Tags, b.Tags)
}

// next takes whatever comes next.
func (s *sub) next() cache.Message {
	s.t.Helper()
	return s.within(time.After(patience))
}

func (s *sub) within(limit <-chan time.Time) cache.Message {
	s.t.Helper()
	select {
	case m := <-s.messages:
		return m
	case err := <-s.ended:
		s.t.Fatalf("the subscription has ended: %v", err)
	case <-limit:
		s.t.Fatalf("nothing is delivered within %v", patience)
	}
	return cache.Message{}
}

// message takes the next invalidation. Positions on the way have to be right.
func (s *sub) message() cache.Message {
	s.t.Helper()
	limit := time.After(patience)
	for {
		m := s.within(limit)
		switch {
		case bare(m) && m.Seq != s.last:
			s.t.Fatalf("the position is told as %d, the last message was %d", m.Seq, s.last)
		case !bare(m):
			if m.Seq != 0 && m.Seq != s.last+1 {
				s.t.Fatalf("message %d comes after %d", m.Seq, s.last)
			}
			s.last = m.Seq
			return m
		}
	}
}

// leave ends the subscription and returns why it says it ended.
func (s *sub) leave() error {
	s.t.Helper()
	s.cancel(errLeave)
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		s.t.Fatalf("the subscription does not end with its context")
	}
	return nil
}

func publish(t testing.TB, b cache.Bus, keys ...string) {
	t.Helper()
	if err := b.Publish(t.Context(), cache.Message{Keys: keys, Origin: 1}); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}

func (s *sub) want(keys ...string) {
	s.t.Helper()
	for _, key := range keys {
		if m := s.message(); len(m.Keys) != 1 || m.Keys[0] != key {
			s.t.Fatalf("message %d has the keys %q, want %q", m.Seq, m.Keys, key)
		}
	}
}

func positionFirst(t testing.TB, b cache.Bus) {
	publish(t, b, "before")
	s := listen(t, b, 0)
	publish(t, b, "a")
	publish(t, b, "b")
	s.want("a", "b")
}

func messageWhole(t testing.TB, b cache.Bus) {
	s := listen(t, b, 0)
	thousand := make([]string, 1000)
	for i := range thousand {
		thousand[i] = fmt.Sprint("name ", i)
	}
	for _, m := range []cache.Message{
		{Seq: 77, Generation: 5, Origin: math.MaxUint64, Keys: []string{"a"}},
		{Generation: math.MaxUint64, Origin: 1, Keys: []string{"a", "b"}, Tags: []string{"t"}, Soft: true, Clear: true},
		{Origin: 1, Clear: true},
		{Origin: 1, Soft: true, Keys: []string{"a"}},
		{Origin: 1, Keys: oddNames, Tags: oddNames},
		{Origin: 1, Keys: thousand, Tags: thousand},
		{Origin: 1, Tags: []string{"t", "t"}},
	} {
		if err := b.Publish(t.Context(), m); err != nil {
			t.Fatalf("Publish: %v", err)
		}
		got := s.message()
		m.Seq = got.Seq
		if !same(got, m) {
			t.Fatalf("%.300s comes as %.300s", fmt.Sprintf("%+v", m), fmt.Sprintf("%+v", got))
		}
	}
}

func denseOrder(t testing.TB, b cache.Bus) {
	const publishers, each = 8, 25
	subs := []*sub{listen(t, b, 0), listen(t, b, 0)}
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			for i := range each {
				m := cache.Message{Origin: uint64(p + 1), Generation: uint64(i), Clear: true}
				if err := b.Publish(t.Context(), m); err != nil {
					t.Errorf("Publish: %v", err)
				}
			}
		})
	}
	group.Wait()
	next := make(map[uint64]uint64) // per publisher
	for range publishers * each {
		first, second := subs[0].message(), subs[1].message()
		if !same(first, second) {
			t.Fatalf("one subscriber has %+v, the other %+v", first, second)
		}
		if first.Generation != next[first.Origin] {
			t.Fatalf("message %d of publisher %d comes in place of %d", first.Generation, first.Origin, next[first.Origin])
		}
		next[first.Origin]++
	}
}

// heartbeats have to come once a second; a busy machine gets a second more.
func heartbeats(t testing.TB, b cache.Bus) {
	s := listen(t, b, 0)
	for i := range 2 {
		begun := time.Now()
		if m := s.next(); !bare(m) || m.Seq != s.last {
			t.Fatalf("%+v comes, want the position %d alone", m, s.last)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("the position comes after %v, want once a second", took)
		}
		publish(t, b, fmt.Sprint(i))
		s.want(fmt.Sprint(i))
	}
}

func resume(t testing.TB, b cache.Bus) {
	s := listen(t, b, 0)
	publish(t, b, "a")
	s.want("a")
	if err := s.leave(); !errors.Is(err, errLeave) {
		t.Errorf("the subscription ends with %v, want the cause of its context", err)
	}
	publish(t, b, "b")
	publish(t, b, "c")
	again := listen(t, b, s.last)
	if again.first.Seq == s.last && s.last != 0 {
		again.want("b", "c")
	}
	publish(t, b, "d")
	again.want("d")

	other := listen(t, b, s.last)
	if other.first.Seq == s.last && s.last != 0 {
		other.want("b", "c", "d")
	}
	publish(t, b, "e")
	other.want("e")
	again.want("e")
}

func resumeIdle(t testing.TB, b cache.Bus) {
	s := listen(t, b, 0)
	publish(t, b, "a")
	s.want("a")
	_ = s.leave()
	for range 3 {
		again := listen(t, b, s.last)
		if again.first.Seq != s.last {
			t.Errorf("delivery starts behind %d, want %d: nothing is lost", again.first.Seq, s.last)
		}
		_ = again.leave()
	}
}

func aheadOfLog(t testing.TB, b cache.Bus) {
	publish(t, b, "a")
	s := listen(t, b, 0)
	for _, after := range []uint64{s.last + 1, s.last + 1000, math.MaxUint64} {
		other := listen(t, b, after)
		if other.first.Seq != s.first.Seq {
			t.Errorf("after %d delivery starts behind %d, want the head %d", after, other.first.Seq, s.first.Seq)
		}
		_ = other.leave()
	}
}

func slowSubscriber(t testing.TB, b cache.Bus) {
	const n = 400
	release := make(chan struct{})
	got := make(chan cache.Message, 2*n)
	s := &sub{t: t, messages: got}
	ctx, cancel := context.WithCancelCause(t.Context())
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() {
		s.ended <- b.Subscribe(ctx, 0, func(m cache.Message) {
			got <- m
			<-release
		})
	}()
	time.AfterFunc(1500*time.Millisecond, func() { close(release) })
	s.last = s.next().Seq
	for i := range n {
		publish(t, b, fmt.Sprint(i))
	}
	for i := range n {
		s.want(fmt.Sprint(i))
	}
	_ = s.leave()
}

func oneAtATime(t testing.TB, b cache.Bus) {
	var inside, count atomic.Int64
	var gone atomic.Bool
	done := make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.Subscribe(ctx, 0, func(m cache.Message) {
			if inside.Add(1) != 1 {
				t.Errorf("two messages are delivered at once")
			}
			if gone.Load() {
				t.Errorf("a message is delivered after Subscribe has returned")
			}
			if !bare(m) && count.Add(1) == 100 {
				close(done)
			}
			inside.Add(-1)
		})
		gone.Store(true)
	}()
	deadline := time.After(patience)
	for published := false; !published; {
		publish(t, b, "a")
		select {
		case <-done:
			published = true
		case <-deadline:
			t.Fatalf("%d messages are delivered within %v", count.Load(), patience)
		default:
		}
	}
	cancel(errLeave)
	for range 50 {
		publish(t, b, "after the end")
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("the subscription does not end with its context")
	}
}

func subscriptionEnds(t testing.TB, b cache.Bus) {
	s := listen(t, b, 0)
	if err := s.leave(); !errors.Is(err, errLeave) {
		t.Errorf("the subscription ends with %v, want the cause of its context", err)
	}
	rest := len(s.messages)
	publish(t, b, "a")
	other := listen(t, b, 0)
	for range 50 { // one that goes on may be late, and on one processor has to be let in
		publish(t, b, "b")
		other.want("b")
		runtime.Gosched()
	}
	if len(s.messages) != rest {
		t.Errorf("an ended subscription delivers")
	}
}

func endedBusCalls(t testing.TB, b cache.Bus) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeave)
	if err := b.Publish(ctx, cache.Message{Clear: true}); !errors.Is(err, errLeave) {
		t.Errorf("Publish under an ended context returns %v, want its cause", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Subscribe(ctx, 0, func(cache.Message) {}) }()
	select {
	case err := <-ended:
		if !errors.Is(err, errLeave) {
			t.Errorf("Subscribe under an ended context returns %v, want its cause", err)
		}
	case <-time.After(patience):
		t.Errorf("Subscribe under an ended context does not return")
	}
}
