// Package mailer takes mail from the email-queue and sends it, which in this shop
// means that it writes it down. A message is acknowledged after it is sent; the inbox
// is the log, where a message id is found that comes a second time. What cannot be
// sent in five tries is a dead letter, to be looked at and replayed.
package mailer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Event is what happens to mail.
type Event interface{ isEvent() }

// The events.
type (
	// MailSent is the effect: its id in the log is that of the message.
	MailSent struct {
		To      string `json:"to"`
		Subject string `json:"subject"`
		Body    string `json:"body"`
	}
	// MailDied is a message that was given up.
	MailDied struct{ Letter }
	// MailReplayed is one that was put into the queue again.
	MailReplayed struct {
		ID string `json:"id"`
	}
)

// Letter is a dead letter.
type Letter struct {
	ID     string    `json:"id"`
	Key    string    `json:"key,omitempty"`
	Body   string    `json:"body"` // as it came, whatever it is
	Reason string    `json:"reason"`
	Died   time.Time `json:"died"`
}

func (MailSent) isEvent()     {}
func (MailDied) isEvent()     {}
func (MailReplayed) isEvent() {}

var codec = eventsource.NewCodec(map[string]Event{
	"MailSent": MailSent{}, "MailDied": MailDied{}, "MailReplayed": MailReplayed{},
})

// Sent is a mail that went out.
type Sent struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	MailSent
}

// desk is the read model. It keeps the latest mails; the log keeps all.
type desk struct {
	sent  []Sent
	total int
	dead  []Letter
}

const keepSent = 1000

// Folded is all of it.
func (d *desk) Folded() any { return []any{d.sent, d.total, d.dead} }

func (d *desk) evolve(r eventsource.Recorded, e Event) *desk {
	switch e := e.(type) {
	case MailSent:
		d.total++
		if len(d.sent) == keepSent {
			d.sent = slices.Delete(d.sent, 0, 1)
		}
		d.sent = append(d.sent, Sent{r.ID, r.Time, e})
	case MailDied:
		e.Died = r.Time
		d.dead = append(d.dead, e.Letter)
	case MailReplayed:
		d.dead = slices.DeleteFunc(d.dead, func(l Letter) bool { return l.ID == e.ID })
	}
	return d
}

const (
	queue = "email-queue"
	group = "mailer"
)

// Service is the mailer.
type Service struct {
	log    wire.Events
	desk   *wire.Model[Event, *desk]
	broker wire.Broker
}

// New returns the service's routes. It calls nobody but the broker.
func New(n *wire.Node) (*http.ServeMux, error) {
	log, err := n.Open("events")
	if err != nil {
		return nil, err
	}
	s := &Service{log: log, broker: n.Broker()}
	s.desk = wire.NewModel(n, "mail", log, codec, func() *desk { return &desk{} }, (*desk).evolve)
	n.Section("dead", func() any { return len(s.dead()) })
	n.Go("queue", func(ctx context.Context) error {
		return s.broker.Subscribe(ctx, messaging.Subscription{Topics: []string{queue}, Group: group, Concurrency: 4}, s.send)
	})
	n.Go("dead letters", func(ctx context.Context) error {
		dead := messaging.Subscription{Topics: []string{queue + "." + group + ".dead"}, Group: group + "-dead", MaxAttempts: -1}
		return s.broker.Subscribe(ctx, dead, s.bury)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /sent", wire.Handler(s.listSent))
	mux.Handle("POST /send", wire.Handler(s.sendNow))
	mux.Handle("GET /dead", wire.Handler(s.listDead))
	mux.Handle("POST /dead/replay", wire.Handler(s.replay))
	return mux, nil
}

// send sends one mail, once: an append of an id that is there already changes
// nothing.
func (s *Service) send(ctx context.Context, d messaging.Delivery) error {
	var m MailSent
	if err := json.Unmarshal(d.Body, &m); err != nil {
		return err
	}
	if !strings.Contains(m.To, "@") || m.Subject == "" {
		return errors.New("no mail: it needs to and subject")
	}
	return s.append(ctx, d.ID, m)
}

// sendNow sends a mail while the caller waits: what the queue is there to avoid, for
// the switch sync-mail.
func (s *Service) sendNow(w http.ResponseWriter, r *http.Request) error {
	var m MailSent
	if err := wire.Decode(w, r, &m, "to", "subject", "body"); err != nil {
		return err
	}
	if !strings.Contains(m.To, "@") {
		return wire.Invalid("to must be an address", "to")
	}
	if err := s.append(r.Context(), "", m); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) append(ctx context.Context, id string, e Event) error {
	event, err := codec.Encode(e)
	if err != nil {
		return err
	}
	event.ID = id
	_, err = s.log.Append(ctx, []eventsource.Event{event})
	return err
}

// bury writes a dead letter down, where it outlives the broker.
func (s *Service) bury(ctx context.Context, d messaging.Delivery) error {
	lies := false
	s.desk.View(func(m *desk, _ eventsource.Position) {
		lies = slices.ContainsFunc(m.dead, func(l Letter) bool { return l.ID == d.ID })
	})
	if lies { // delivered twice
		return nil
	}
	return s.append(ctx, "", MailDied{Letter{ID: d.ID, Key: d.Key, Body: string(d.Body), Reason: d.Headers["keelson-error"]}})
}

func (s *Service) listSent(w http.ResponseWriter, _ *http.Request) error {
	var out struct {
		Total int    `json:"total"`
		Sent  []Sent `json:"sent"` // the latest
	}
	s.desk.View(func(d *desk, _ eventsource.Position) { out.Total, out.Sent = d.total, slices.Clone(d.sent) })
	return wire.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) dead() (letters []Letter) {
	s.desk.View(func(d *desk, _ eventsource.Position) { letters = slices.Clone(d.dead) })
	return letters
}

func (s *Service) listDead(w http.ResponseWriter, _ *http.Request) error {
	out := s.dead()
	if out == nil {
		out = []Letter{}
	}
	return wire.WriteJSON(w, http.StatusOK, out)
}

// replay puts every dead letter into the queue again, under its old id: if it was
// sent after all, it is not sent twice.
func (s *Service) replay(w http.ResponseWriter, r *http.Request) error {
	letters := s.dead()
	for _, l := range letters {
		msg := messaging.Message{ID: l.ID, Topic: queue, Key: l.Key, Body: []byte(l.Body)}
		if err := s.broker.Publish(r.Context(), msg); err != nil {
			return wire.Unavailable("broker", err)
		}
		if err := s.append(r.Context(), "", MailReplayed{l.ID}); err != nil {
			return err
		}
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]int{"replayed": len(letters)})
}
