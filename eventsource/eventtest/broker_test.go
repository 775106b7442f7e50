package eventtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// bent is a broker with a mistake, made of one without. Nil: as it should be.
type bent struct {
	*messaging.Memory
	publish   func(ctx context.Context, m *messaging.Message) (held bool)
	subscribe func(sub *messaging.Subscription)
	handle    func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error
	run       func(ctx context.Context, subscribe func(context.Context) error) error
}

func (b *bent) Publish(ctx context.Context, msgs ...messaging.Message) error {
	if b.publish == nil {
		return b.Memory.Publish(ctx, msgs...)
	}
	for _, m := range msgs {
		m.Headers = maps.Clone(m.Headers)
		if !b.publish(ctx, &m) {
			continue
		}
		if err := b.Memory.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (b *bent) Subscribe(ctx context.Context, sub messaging.Subscription, h messaging.Handler) error {
	if b.subscribe != nil {
		b.subscribe(&sub)
	}
	inner := h
	if b.handle != nil && h != nil {
		inner = func(ctx context.Context, d messaging.Delivery) error { return b.handle(ctx, d, h) }
	}
	if b.run != nil {
		return b.run(ctx, func(ctx context.Context) error { return b.Memory.Subscribe(ctx, sub, inner) })
	}
	return b.Memory.Subscribe(ctx, sub, inner)
}

func memory() *messaging.Memory { return messaging.NewMemory(messaging.Config{}) }

type handle = func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error

func handles(f handle) func() eventtest.Broker {
	return func() eventtest.Broker { return &bent{Memory: memory(), handle: f} }
}

func subscribes(f func(sub *messaging.Subscription)) func() eventtest.Broker {
	return func() eventtest.Broker { return &bent{Memory: memory(), subscribe: f} }
}

func publishes(f func(ctx context.Context, m *messaging.Message) bool) func() eventtest.Broker {
	return func() eventtest.Broker { return &bent{Memory: memory(), publish: f} }
}

func runs(f func(ctx context.Context, subscribe func(context.Context) error) error) func() eventtest.Broker {
	return func() eventtest.Broker { return &bent{Memory: memory(), run: f} }
}

// rekeyed messages go under another key, and look as if they did not.
func rekeyed(key string) func() eventtest.Broker {
	return func() eventtest.Broker {
		return &bent{
			Memory: memory(),
			publish: func(_ context.Context, m *messaging.Message) bool {
				if m.Headers == nil {
					m.Headers = map[string]string{}
				}
				m.Headers["key"], m.Key = m.Key, key
				return true
			},
			handle: func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
				d.Key = d.Headers["key"]
				return h(ctx, d)
			},
		}
	}
}

// opinionless errors have a text and nothing else.
func opinionless(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
	if err := h(ctx, d); err != nil {
		return errors.New(err.Error())
	}
	return nil
}

type final struct{ error }

func (final) Retryable() bool { return false }

type inHandler struct{}

var members atomic.Int64

// brokerOffenders are brokers with one mistake each, by the case that must see it;
// what follows a slash only tells two of one case apart.
var brokerOffenders = map[string]func() eventtest.Broker{
	"CarriesMessagesUnchanged": publishes(func(_ context.Context, m *messaging.Message) bool { m.Headers = nil; return true }),
	"SetsMissingIDs": publishes(func(_ context.Context, m *messaging.Message) bool {
		if m.ID == "" {
			m.ID = "always the same"
		}
		return true
	}),
	"RefusesWhatBreaksTheRules":      publishes(func(context.Context, *messaging.Message) bool { return true }), // one by one, until one is refused
	"EveryGroupGetsEveryMessage":     subscribes(func(sub *messaging.Subscription) { sub.Group = "one for all" }),
	"MembersShareTheWork":            subscribes(func(sub *messaging.Subscription) { sub.Group += fmt.Sprint(members.Add(1)) }),
	"SeveralTopicsInOneSubscription": subscribes(func(sub *messaging.Subscription) { sub.Topics = sub.Topics[:min(1, len(sub.Topics))] }),
	"HandlerOwnsItsDelivery":         func() eventtest.Broker { return aliasing() },
	"HandlerMayPublish":              func() eventtest.Broker { return deafToHandlers() },
	"LateGroupSeesEarlierMessages":   func() eventtest.Broker { return messaging.NewMemory(messaging.Config{Retain: -1}) },
	"ErrorRedelivers":                handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error { _ = h(ctx, d); return nil }),
	"ErrorRedelivers/uncounted": handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
		d.Attempt = 1
		return h(ctx, d)
	}),
	"RetryAfterIsHeeded":               handles(opinionless),
	"DeadLetterAfterMaxAttempts":       subscribes(func(sub *messaging.Subscription) { sub.MaxAttempts = -1 }),
	"DeadLetterAfterMaxAttempts/name":  subscribes(func(sub *messaging.Subscription) { sub.DeadLetter = "" }),
	"DeadLetterAtOnceWhenNotRetryable": handles(opinionless),
	"RefusalThatNamesATimeIsNoDeadLetter": handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
		if err := h(ctx, d); err != nil {
			return final{errors.New(err.Error())}
		}
		return nil
	}),
	"NegativeMaxAttemptsNeverDies":                subscribes(func(sub *messaging.Subscription) { sub.MaxAttempts = max(sub.MaxAttempts, 0) }),
	"EventsTellOfEachDelivery":                    subscribes(func(sub *messaging.Subscription) { sub.OnEvent = nil }),
	"KeyKeepsItsOrderInAMember":                   rekeyed(""),
	"KeyKeepsItsOrderOverMembers":                 rekeyed(""),
	"OtherKeysGoOnWhileOneWaits":                  rekeyed("one for all"),
	"ConcurrencyIsReachedAndNotExceeded":          subscribes(func(sub *messaging.Subscription) { sub.Concurrency = min(sub.Concurrency, 1) }),
	"ConcurrencyIsReachedAndNotExceeded/exceeded": subscribes(func(sub *messaging.Subscription) { sub.Concurrency *= 2 }),
	"PanicIsNotAnAcknowledgement": handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
		defer func() { _ = recover() }()
		return h(ctx, d)
	}),
	"GoexitIsNotAnAcknowledgement": handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) (err error) {
		var group sync.WaitGroup
		group.Go(func() { err = h(ctx, d) })
		group.Wait()
		return err
	}),
	"PoisonThatEndsMembersDies": subscribes(func(sub *messaging.Subscription) {
		if sub.MaxAttempts > 0 {
			sub.MaxAttempts = 100
		}
	}),
	"DrainWaitsAndAcknowledges": runs(func(ctx context.Context, subscribe func(context.Context) error) error {
		done := make(chan error, 1)
		go func() { done <- subscribe(ctx) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}),
	"DrainWaitsAndAcknowledges/not": handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
		return errors.Join(h(ctx, d), ctx.Err())
	}),
	"DrainReturnsWhatFailed": handles(func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
		if err := h(ctx, d); ctx.Err() == nil {
			return err
		}
		return nil
	}),
	"EndedContext": runs(func(ctx context.Context, subscribe func(context.Context) error) error {
		if subscribe(ctx); ctx.Err() != nil {
			return ctx.Err() // and not its cause
		}
		return nil
	}),
}

// aliasing hands the same slices out to everybody, at each attempt.
func aliasing() eventtest.Broker {
	var mu sync.Mutex
	shared := map[string]messaging.Message{}
	return &bent{Memory: memory(), handle: func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
		mu.Lock()
		m, known := shared[d.ID]
		if !known {
			shared[d.ID], m = d.Message, d.Message
		}
		mu.Unlock()
		d.Body, d.Headers = m.Body, m.Headers
		return h(ctx, d)
	}}
}

// deafToHandlers loses what a handler publishes.
func deafToHandlers() eventtest.Broker {
	return &bent{
		Memory:  memory(),
		publish: func(ctx context.Context, _ *messaging.Message) bool { return ctx.Value(inHandler{}) == nil },
		handle: func(ctx context.Context, d messaging.Delivery, h messaging.Handler) error {
			return h(context.WithValue(ctx, inHandler{}, true), d)
		},
	}
}

// A suite that passes everything is worth nothing: each offender must fail the
// case made for it. It runs in a process of its own, since its tests fail.
func TestBrokerOffendersAreCaught(t *testing.T) {
	caps := eventtest.Caps{KeyOrder: true, CrashCount: true, Late: true}
	if name := os.Getenv("EVENTTEST_BROKER"); name != "" {
		eventtest.Hurry(2 * time.Second)
		eventtest.TestBroker(t, caps, func(*testing.T) eventtest.Broker { return brokerOffenders[name]() })
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for name := range brokerOffenders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test, _, _ := strings.Cut(name, "/")
			cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestBrokerOffendersAreCaught$/^"+test+"$")
			cmd.Env = append(os.Environ(), "EVENTTEST_BROKER="+name)
			out, err := cmd.CombinedOutput()
			assert.Error(t, err)
			assert.Contains(t, string(out), "--- FAIL: TestBrokerOffendersAreCaught/"+test)
		})
	}
}

// Each case has an offender, so that a new one is seen to fail as well.
func TestEachCaseHasAnOffender(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestBentAsItShouldBe$", "-test.v")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	cases := regexp.MustCompile(`--- PASS: TestBentAsItShouldBe/(\w+)`).FindAllStringSubmatch(string(out), -1)
	assert.True(t, len(cases) > 20, fmt.Sprint(cases))
	for _, c := range cases {
		assert.True(t, brokerOffenders[c[1]] != nil, c[1])
	}
}

// The wrapper itself makes no mistake.
func TestBentAsItShouldBe(t *testing.T) {
	eventtest.TestBroker(t, eventtest.Caps{KeyOrder: true, CrashCount: true, Late: true}, func(*testing.T) eventtest.Broker {
		return &bent{Memory: memory()}
	})
}
