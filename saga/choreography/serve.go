package choreography

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
)

// Config is what a participant is served with: a Subscriber, and either an Outbox
// or a Publisher.
type Config struct {
	// Subscriber is required.
	Subscriber messaging.Subscriber

	// Subscription has concurrency, attempts, backoff and OnEvent; Topics and Group
	// are filled in.
	Subscription messaging.Subscription

	// Outbox puts all that a reaction does into one transaction: that the message
	// was handled, the barrier's row, the effect, and the event that comes out of
	// it. Somebody has to run its Relay. The database needs barrier.Setup too.
	Outbox *outbox.Outbox

	// Publisher instead of an Outbox is for participants whose effects are in the
	// process: handlers get a nil tx, and what was handled is forgotten with Serve,
	// or after a day.
	Publisher messaging.Publisher
}

// memoryKeep is how long a participant without a database remembers.
const memoryKeep = 24 * time.Hour

// Serve reacts as one participant until ctx ends. It refuses a flow that fails
// Check, a participant that is not in it, and reactions without a Handle.
//
// A reaction happens once, whatever arrives twice or in the wrong order. A
// compensation whose effect did not happen skips its Handle and emits its event
// with the data that came in, so that the chain goes on; the action, if it comes
// later, does nothing and emits nothing.
func (f Flow) Serve(ctx context.Context, participant string, cfg Config) error {
	if err := f.Check(); err != nil {
		return err
	}
	s, err := f.server(participant, cfg)
	if err != nil {
		return err
	}
	sub := cfg.Subscription
	sub.Topics, sub.Group = []string{f.Name}, participant
	return cfg.Subscriber.Subscribe(ctx, sub, s.handler())
}

type server struct {
	Flow
	Participant
	cfg       Config
	reactions map[string]Reaction
	effectOn  map[string]string // own event to what the effect's reaction is on; "" for Starts
	guard     *barrier.Guard    // without an outbox
	inbox     *barrier.Guard    // without an outbox, which has its own: what each event was answered with
}

func (f Flow) server(participant string, cfg Config) (*server, error) {
	i := slices.IndexFunc(f.Participants, func(p Participant) bool { return p.Name == participant })
	switch {
	case i < 0:
		return nil, fmt.Errorf("choreography: %s has no participant %.80q", f.Name, participant)
	case cfg.Subscriber == nil:
		return nil, errors.New("choreography: Config.Subscriber is nil")
	case (cfg.Outbox == nil) == (cfg.Publisher == nil):
		return nil, errors.New("choreography: want one of Config.Outbox and Config.Publisher")
	}
	s := &server{
		Flow: f, Participant: f.Participants[i], cfg: cfg, guard: barrier.NewMemory(memoryKeep), inbox: barrier.NewMemory(memoryKeep),
		reactions: map[string]Reaction{}, effectOn: map[string]string{},
	}
	for _, e := range s.Starts {
		s.effectOn[e] = ""
	}
	for _, r := range s.Reactions {
		if r.Handle == nil {
			return nil, fmt.Errorf("choreography: %s on %s has no Handle", participant, r.On)
		}
		s.reactions[r.On] = r
		for _, e := range r.effects(s.Participant) {
			s.effectOn[e.event] = r.On
		}
	}
	return s, nil
}

func (s *server) handler() messaging.Handler {
	if s.cfg.Outbox == nil {
		return func(ctx context.Context, d messaging.Delivery) error {
			return s.react(ctx, nil, d, s.once)
		}
	}
	return s.cfg.Outbox.Handler(s.Participant.Name, func(ctx context.Context, tx *sql.Tx, d messaging.Delivery) error {
		return s.react(ctx, tx, d, func(ctx context.Context, r Reaction, e Event) (Event, error) {
			return s.answer(ctx, tx, barrier.In(tx), r, e)
		})
	})
}

// once answers an event that comes again as it did before. The guard alone does not:
// a reaction that refused leaves no trace there, and asked again it might not refuse,
// when the others have taken everything back.
func (s *server) once(ctx context.Context, r Reaction, e Event) (Event, error) {
	if e.ID == "" {
		return s.answer(ctx, nil, s.guard, r, e)
	}
	return barrier.Do(ctx, s.inbox, saga.Call{Saga: e.Correlation, Step: e.ID}, func(ctx context.Context) (Event, error) {
		return s.answer(ctx, nil, s.guard, r, e)
	})
}

func (s *server) react(ctx context.Context, tx *sql.Tx, d messaging.Delivery, answer func(context.Context, Reaction, Event) (Event, error)) error {
	e, ok := eventOf(d.Message)
	if !ok {
		return &permanent{fmt.Errorf("choreography: message %s is no event: it lacks the header %s or a key", d.ID, headerType)}
	}
	r, mine := s.reactions[e.Type]
	if !mine {
		return nil
	}
	out, err := answer(ctx, r, e)
	if err != nil || out.Type == "" {
		return err
	}
	out.ID, out.Correlation, out.Cause = derive(e.ID, s.Participant.Name, r.On), e.Correlation, e.ID
	return s.send(ctx, tx, s.message(out))
}

func (s *server) answer(ctx context.Context, tx *sql.Tx, g *barrier.Guard, r Reaction, e Event) (Event, error) {
	if r.Compensates == "" {
		return s.act(ctx, tx, g, r, e)
	}
	return s.compensate(ctx, tx, g, r, e)
}

func (s *server) send(ctx context.Context, tx *sql.Tx, m messaging.Message) error {
	if s.cfg.Outbox == nil {
		return s.cfg.Publisher.Publish(ctx, m)
	}
	return s.cfg.Outbox.Put(ctx, tx, m)
}

// call names a reaction to the barrier.
func (s *server) call(e Event, on string, undo bool) saga.Call {
	return saga.Call{Saga: e.Correlation, Step: s.Participant.Name + "." + on, Undo: undo, Attempt: 1}
}

// errRefused takes the barrier's row of a reaction away that has refused: it had no
// effect, so there is nothing that a compensation may find.
var errRefused = errors.New("choreography: refused")

func (s *server) act(ctx context.Context, tx *sql.Tx, g *barrier.Guard, r Reaction, e Event) (out Event, err error) {
	var said Event // a guard returns nothing beside an error
	out, err = barrier.Do(ctx, g, s.call(e, r.On, false), func(ctx context.Context) (Event, error) {
		var err error
		if said, err = s.handle(ctx, tx, r, e); err == nil && slices.Contains(r.Fails, said.Type) {
			err = errRefused
		}
		return said, err
	})
	switch {
	case errors.Is(err, errRefused):
		return said, nil
	case errors.Is(err, barrier.ErrLate):
		return Event{}, nil // taken back before it came
	default:
		return out, err
	}
}

// compensate takes an effect back once, whichever of its compensations comes first;
// the others go on with what that one said.
func (s *server) compensate(ctx context.Context, tx *sql.Tx, g *barrier.Guard, r Reaction, e Event) (Event, error) {
	on, undo := s.effectOn[r.Compensates], true
	if on == "" { // what a Starts event stands for has always happened
		on, undo = "start."+r.Compensates, false
	}
	out, err := barrier.Do(ctx, g, s.call(e, on, undo), func(ctx context.Context) (Event, error) {
		return s.handle(ctx, tx, r, e)
	})
	switch {
	case err != nil:
		return Event{}, err
	case out.Type == "": // it never happened
		return Event{Type: r.Emits[0], Data: e.Data}, nil
	default:
		return Event{Type: r.Emits[0], Data: out.Data}, nil
	}
}

// handle runs the user's handler and holds it to what the flow declares.
func (s *server) handle(ctx context.Context, tx *sql.Tx, r Reaction, e Event) (Event, error) {
	out, err := r.Handle(ctx, tx, e)
	if err != nil {
		return Event{}, err
	}
	switch declared := r.outcomes(); {
	case len(declared) == 0 && out.Type == "":
		return out, nil
	case !slices.Contains(declared, out.Type):
		return Event{}, fmt.Errorf("choreography: %s on %s emits %.80q: want one of %q", s.Participant.Name, r.On, out.Type, declared)
	}
	return out, nil
}
