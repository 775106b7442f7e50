package consume

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrInvalid and ErrNoRoute are those of package messaging.
var (
	ErrInvalid error = &sentinel{"messaging: invalid"}
	ErrNoRoute error = &sentinel{"messaging: no route"}
)

// sentinel says that a repeat does not help, so that a handler that runs into
// one ends in the dead letter topic at once.
type sentinel struct{ text string }

func (e *sentinel) Error() string   { return e.text }
func (e *sentinel) Retryable() bool { return false }

// Settings are the fields of a messaging.Subscription that rule deliveries.
type Settings struct {
	Topics      []string
	Group       string
	DeadLetter  string
	Concurrency int
	MaxAttempts int
	Backoff     func(attempt int) time.Duration
}

// Limits of what travels through every broker. Names are bounded by AMQP's short
// strings, where a queue is called topic.group.
const (
	maxName   = 200
	maxText   = 255
	maxHeader = 128 << 10 // an event's Meta, and keelson's own beside it
	maxBody   = 16 << 20
)

// Resolve returns the settings with zero values filled in, or an ErrInvalid.
func (s Settings) Resolve() (Settings, error) {
	if len(s.Topics) == 0 {
		return s, invalid("Topics", "empty", "at least one topic")
	}
	seen := make(map[string]bool, len(s.Topics))
	for i, topic := range s.Topics {
		field := fmt.Sprintf("Topics[%d]", i)
		if err := checkName(field, topic); err != nil {
			return s, err
		}
		if seen[topic] {
			return s, invalid(field, fmt.Sprintf("%q again", topic), "each topic once")
		}
		seen[topic] = true
		if err := checkDeadLetter(s.DeadLetter, topic, s.Group); err != nil {
			return s, err
		}
	}
	if err := checkName("Group", s.Group); err != nil {
		return s, err
	}
	if s.Concurrency < 0 {
		return s, invalid("Concurrency", s.Concurrency, "zero, which means 1, or more")
	}
	s.Concurrency = max(s.Concurrency, 1)
	if s.MaxAttempts == 0 {
		s.MaxAttempts = 5
	}
	if s.Backoff == nil {
		s.Backoff = Backoff
	}
	return s, nil
}

// DeadLetterOf is where deliveries of topic to the group end that cannot be
// handled.
func (s Settings) DeadLetterOf(topic string) string {
	if s.DeadLetter != "" {
		return s.DeadLetter
	}
	return topic + "." + s.Group + ".dead"
}

func checkDeadLetter(name, topic, group string) error {
	switch {
	case name == topic:
		return invalid("DeadLetter", fmt.Sprintf("%q", name), "a topic that is not subscribed to: its messages would go round for ever")
	case name != "":
		return checkName("DeadLetter", name)
	case len(topic)+len(group)+len("..dead") > maxName:
		return invalid("DeadLetter", "empty", fmt.Sprintf("a name, since topic.group.dead of %q would exceed %d bytes", topic, maxName))
	}
	return nil
}

// Backoff is the default of a subscription: 100 ms doubling to 30 s, of which a
// random half is taken off.
func Backoff(attempt int) time.Duration {
	const first, most = 100 * time.Millisecond, 30 * time.Second
	d := most
	if attempt < 10 { // 100 ms << 9 exceeds the cap
		d = min(first<<max(attempt-1, 0), most)
	}
	return d/2 + rand.N(d/2)
}

// CheckMessage refuses what some broker could not carry unharmed.
func CheckMessage(id, topic, key string, headers map[string]string, body []byte) error {
	if err := checkName("Topic", topic); err != nil {
		return err
	}
	if err := checkText("ID", id, maxText); err != nil {
		return err
	}
	if err := checkText("Key", key, maxText); err != nil {
		return err
	}
	size := 0
	for name, value := range headers {
		if name == "" {
			return invalid("Headers", "an empty name", "names of 1 to 255 bytes")
		}
		if err := checkText("Headers: name", name, maxText); err != nil {
			return err
		}
		if err := checkText("Headers: "+name, value, maxHeader); err != nil {
			return err
		}
		size += len(name) + len(value)
	}
	if size > maxHeader {
		return invalid("Headers", fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d bytes in all", maxHeader))
	}
	if len(body) > maxBody {
		return invalid("Body", fmt.Sprintf("%d bytes", len(body)), fmt.Sprintf("at most %d", maxBody))
	}
	return nil
}

// CheckName refuses what is no topic and no group.
func CheckName(field, name string) error { return checkName(field, name) }

func checkName(field, name string) error {
	ok := name != "" && len(name) <= maxName
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return invalid(field, fmt.Sprintf("%.64q", name), fmt.Sprintf("1 to %d of a-z A-Z 0-9 . _ -", maxName))
	}
	return nil
}

func checkText(field, text string, most int) error {
	switch {
	case len(text) > most:
		return invalid(field, fmt.Sprintf("%d bytes", len(text)), fmt.Sprintf("at most %d", most))
	case !utf8.ValidString(text):
		return invalid(field, fmt.Sprintf("%.64q", text), "valid UTF-8")
	case strings.IndexByte(text, 0) >= 0:
		return invalid(field, fmt.Sprintf("%.64q", text), "text without NUL")
	}
	return nil
}

func invalid(field string, value any, want string) error {
	return fmt.Errorf("%w: %s is %v: want %s", ErrInvalid, field, value, want)
}
