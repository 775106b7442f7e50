package choreography

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// Flow is a whole conversation as data, shared by all services that take part.
type Flow struct {
	// Name is also the topic. The correlation id of a conversation is the key of
	// its messages.
	Name string

	// Participants are the services, in any order.
	Participants []Participant

	// Ends are events that nobody has to consume.
	Ends []string
}

// Participant is one service.
type Participant struct {
	// Name is also its consumer group.
	Name string

	// Starts are events that it emits on its own, by [Flow.Begin].
	Starts []string

	// Reactions are what it does about the events of others.
	Reactions []Reaction
}

// Reaction is what a participant does about one event.
type Reaction struct {
	// On is the event consumed. A participant has one reaction to an event.
	On string

	// Emits and Fails: one event of either comes out of each call. Those of Fails
	// are refusals, after which this reaction has had no effect. Both empty means
	// that the branch ends here.
	Emits, Fails []string

	// Compensates is the participant's own event whose effect is taken back here.
	// Such a reaction has exactly one event in Emits and none in Fails.
	Compensates string

	// NoEffect means that there is nothing to take back: mail, an audit line.
	NoEffect bool

	// Handle does the work. It may be nil where the flow is only checked or traced.
	Handle Handler
}

// Handler reacts to e within tx, and returns the event to emit, the zero Event
// where the reaction declares none. An error undoes everything and brings e back.
// Tx is nil in a flow that is served with a Publisher.
type Handler func(ctx context.Context, tx *sql.Tx, e Event) (Event, error)

// Event is what travels between participants.
type Event struct {
	Type        string
	ID          string
	Correlation string          // of the conversation
	Cause       string          // the ID of the event that this one follows from
	Data        json.RawMessage `json:",omitempty"` // none stays none in a stored answer
}

// On makes a Handler of a function that takes the event's data decoded. Data that
// does not decode is an error that no redelivery mends.
func On[T any](fn func(ctx context.Context, tx *sql.Tx, in T) (Event, error)) Handler {
	return func(ctx context.Context, tx *sql.Tx, e Event) (Event, error) {
		var in T
		if err := json.Unmarshal(e.Data, &in); err != nil {
			return Event{}, &permanent{fmt.Errorf("choreography: data of %s %s: %w", e.Type, e.ID, err)}
		}
		return fn(ctx, tx, in)
	}
}

// permanent errors end in the dead letter topic at once.
type permanent struct{ error }

func (p *permanent) Unwrap() error   { return p.error }
func (p *permanent) Retryable() bool { return false }

// Emit makes an event whose data is JSON. ID, Correlation and Cause are filled in
// when it is sent.
func Emit(typ string, data any) (Event, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("choreography: data of %s: %w", typ, err)
	}
	return Event{Type: typ, Data: encoded}, nil
}

// Headers of a message, the same that messaging.Relay writes.
const (
	headerType        = "keelson-type"
	headerCorrelation = "correlation"
	headerCausation   = "causation"
)

// Begin makes the message that starts a conversation, to be put into an outbox or
// published. E.Type is one of some participant's Starts. An empty e.ID is derived
// from the correlation, so that beginning twice is beginning once.
func (f Flow) Begin(correlation string, e Event) (messaging.Message, error) {
	if correlation == "" {
		return messaging.Message{}, errors.New("choreography: the correlation is empty: want the id of the conversation, such as an order's")
	}
	starts := slices.ContainsFunc(f.Participants, func(p Participant) bool { return slices.Contains(p.Starts, e.Type) })
	if !starts {
		return messaging.Message{}, fmt.Errorf("choreography: %.80q starts no conversation of %s: want an event of some participant's Starts", e.Type, f.Name)
	}
	if e.ID == "" {
		e.ID = derive(f.Name, correlation, e.Type)
	}
	e.Correlation, e.Cause = correlation, ""
	return f.message(e), nil
}

func (f Flow) message(e Event) messaging.Message {
	headers := map[string]string{headerType: e.Type, headerCorrelation: e.Correlation}
	if e.Cause != "" {
		headers[headerCausation] = e.Cause
	}
	return messaging.Message{ID: e.ID, Topic: f.Name, Key: e.Correlation, Headers: headers, Body: e.Data}
}

// eventOf reads a message; false if it is none of a flow.
func eventOf(m messaging.Message) (Event, bool) {
	e := Event{
		Type: m.Headers[headerType], ID: m.ID, Correlation: m.Headers[headerCorrelation],
		Cause: m.Headers[headerCausation], Data: m.Body,
	}
	if e.Correlation == "" {
		e.Correlation = m.Key
	}
	return e, e.Type != "" && e.Correlation != ""
}

// derive makes the id of an event that follows from others: a UUID of version 8
// (RFC 9562) over SHA-256, so that a repeat makes the same one.
func derive(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	b := h.Sum(nil)[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	x := hex.EncodeToString(b)
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
