package eventtest

import (
	"testing"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// Broker is both ends of a message broker.
type Broker interface {
	messaging.Publisher
	messaging.Subscriber
}

// Caps are the promises in which brokers differ.
type Caps struct {
	// KeyOrder: the messages of a key are handled in order by all members of a
	// group together, not only within each.
	KeyOrder bool

	// CrashCount: Attempt survives the end of a member that did not settle the
	// delivery, so that a message that kills each of them ends as a dead letter.
	CrashCount bool

	// Late: a group sees what was published before its first subscription.
	Late bool
}

// TestBroker runs what packages messaging and messaging's adapters promise. Open
// returns a broker whose topics are empty, and is called once per case. A broker
// that redelivers what a lost member held only after a while should be set to a
// short one: no case waits longer than 20 s for anything.
func TestBroker(t *testing.T, caps Caps, open func(t *testing.T) Broker) {
	for _, c := range []struct {
		name string
		need bool
		run  func(s *suite)
	}{
		{"CarriesMessagesUnchanged", true, carriesMessagesUnchanged},
		{"SetsMissingIDs", true, setsMissingIDs},
		{"RefusesWhatBreaksTheRules", true, refusesWhatBreaksTheRules},
		{"EveryGroupGetsEveryMessage", true, everyGroupGetsEveryMessage},
		{"MembersShareTheWork", true, membersShareTheWork},
		{"SeveralTopicsInOneSubscription", true, severalTopics},
		{"HandlerOwnsItsDelivery", true, handlerOwnsItsDelivery},
		{"HandlerMayPublish", true, handlerMayPublish},
		{"LateGroupSeesEarlierMessages", caps.Late, lateGroup},

		{"ErrorRedelivers", true, errorRedelivers},
		{"RetryAfterIsHeeded", true, retryAfterIsHeeded},
		{"DeadLetterAfterMaxAttempts", true, deadLetterAfterMaxAttempts},
		{"DeadLetterAtOnceWhenNotRetryable", true, deadLetterAtOnce},
		{"RefusalThatNamesATimeIsNoDeadLetter", true, refusalWithTime},
		{"NegativeMaxAttemptsNeverDies", true, neverDies},
		{"EventsTellOfEachDelivery", true, eventsTell},

		{"KeyKeepsItsOrderInAMember", true, keyOrderInMember},
		{"KeyKeepsItsOrderOverMembers", caps.KeyOrder, keyOrderOverMembers},
		{"OtherKeysGoOnWhileOneWaits", true, otherKeysGoOn},
		{"ConcurrencyIsReachedAndNotExceeded", true, concurrencyIsReached},

		{"PanicIsNotAnAcknowledgement", true, panicIsNoAck},
		{"GoexitIsNotAnAcknowledgement", true, goexitIsNoAck},
		{"PoisonThatEndsMembersDies", caps.CrashCount, poisonDies},
		{"DrainWaitsAndAcknowledges", true, drainAcknowledges},
		{"DrainReturnsWhatFailed", true, drainReturns},
		{"EndedContext", true, brokerEndedContext},
	} {
		if c.need {
			t.Run(c.name, func(t *testing.T) { c.run(&suite{T: t, Broker: open(t), caps: caps}) })
		}
	}
}
