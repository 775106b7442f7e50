package messagingamqp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	amqp "github.com/rabbitmq/amqp091-go"
)

// publisher owns the channel that messages are published on. Its goroutine makes
// the writes, since the library does not end a blocked one when a context does;
// who waits for it can leave.
type publisher struct {
	*Broker
	ctx      context.Context // ends with Close
	end      context.CancelFunc
	requests chan *request
	group    sync.WaitGroup
	tokens   uint64
}

// request is one message to publish.
type request struct {
	topic   string
	message amqp.Publishing
	sent    chan sending // of capacity 1
}

// sending is a message that was written, or why it was not.
type sending struct {
	confirm *amqp.DeferredConfirmation
	token   string
	link    *link
	err     error
}

// grace is how long a connection may take to say farewell.
const grace = 2 * time.Second

// link is one connection of the publisher. A message that RabbitMQ cannot route
// comes back before it is confirmed; watch notes it.
type link struct {
	conn     *amqp.Connection
	ch       *amqp.Channel
	keep     func() bool     // the end of the broker no longer closes conn
	topics   map[string]bool // whose exchange is declared
	returned map[string]bool // tokens; watch's own until gone is closed, constant then
	closed   chan *amqp.Error
	gone     chan struct{}
	returns  chan amqp.Return
	question chan question
}

type question struct {
	token  string
	answer chan bool
}

func newPublisher(b *Broker, conn *amqp.Connection) *publisher {
	p := &publisher{Broker: b, requests: make(chan *request)}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.group.Go(func() { p.run(conn) })
	return p
}

// close ends a write or a dial that hangs, too.
func (p *publisher) close() {
	p.end()
	p.group.Wait()
}

// run writes what is requested, connecting again when it has to.
func (p *publisher) run(conn *amqp.Connection) {
	l, _ := p.link(conn) // else the first request connects
	defer func() { l.close() }()
	for {
		select {
		case <-p.ctx.Done():
			return
		case r := <-p.requests:
			if l.lost() {
				l.close()
				var err error
				if l, err = p.connect(); err != nil {
					r.sent <- sending{err: err}
					continue
				}
			}
			r.sent <- p.write(l, r)
		}
	}
}

// connect serves all who publish, so that none of their contexts ends it.
func (p *publisher) connect() (*link, error) {
	conn, err := dial(p.ctx, p.cfg.URL)
	if err != nil {
		return nil, err
	}
	return p.link(conn)
}

func (p *publisher) link(conn *amqp.Connection) (*link, error) {
	// Close must end what RabbitMQ does not answer.
	keep := context.AfterFunc(p.ctx, func() { conn.CloseDeadline(time.Now().Add(grace)) })
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		keep()
		conn.Close()
		return nil, err
	}
	l := &link{
		conn: conn, ch: ch, keep: keep, returned: map[string]bool{}, topics: map[string]bool{}, gone: make(chan struct{}),
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)), returns: ch.NotifyReturn(make(chan amqp.Return)),
		question: make(chan question),
	}
	p.group.Go(l.watch)
	return l, nil
}

// watch collects returns until the channel closes. The library hands a return over
// before it looks at the confirmation behind it, and this goroutine has noted the
// one before it hears of the next or answers a question; so who asks after the
// confirmation gets the truth.
func (l *link) watch() {
	defer close(l.gone)
	for {
		select {
		case r, ok := <-l.returns:
			if !ok {
				return
			}
			l.returned[r.CorrelationId] = true
		case q := <-l.question:
			q.answer <- l.returned[q.token]
			delete(l.returned, q.token)
		}
	}
}

func (l *link) unroutable(token string) bool {
	q := question{token, make(chan bool, 1)}
	select {
	case l.question <- q:
		return <-q.answer
	case <-l.gone:
		return l.returned[token]
	}
}

func (l *link) lost() bool {
	if l == nil {
		return true
	}
	select {
	case <-l.closed:
		return true
	default:
		return l.ch.IsClosed()
	}
}

func (l *link) close() {
	if l != nil {
		l.keep()
		l.conn.CloseDeadline(time.Now().Add(grace))
		<-l.gone
	}
}

func (p *publisher) write(l *link, r *request) sending {
	if !l.topics[r.topic] {
		if err := exchange(l.ch, r.topic); err != nil {
			return sending{err: err}
		}
		l.topics[r.topic] = true
	}
	p.tokens++
	token := strconv.FormatUint(p.tokens, 36)
	r.message.CorrelationId = token
	confirm, err := l.ch.PublishWithDeferredConfirm(r.topic, "", true, false, r.message)
	return sending{confirm: confirm, token: token, link: l, err: err}
}

// Publish implements messaging.Publisher. Nil means that a durable queue of every
// group has each message. ErrNoRoute: the topic has no group yet.
func (b *Broker) Publish(ctx context.Context, msgs ...messaging.Message) error {
	msgs, err := adapter.Prepare(msgs)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	sent := make([]sending, 0, len(msgs))
	for _, m := range msgs {
		s, err := b.publisher.send(ctx, m)
		if err != nil {
			return wrap(ctx, err)
		}
		sent = append(sent, s)
	}
	var errs []error
	for i, s := range sent {
		if err := s.wait(ctx); err != nil {
			errs = append(errs, fmt.Errorf("message %s: %w", msgs[i].ID, err))
		}
	}
	return wrap(ctx, errors.Join(errs...))
}

// send hands a message to the goroutine that writes.
func (p *publisher) send(ctx context.Context, m messaging.Message) (sending, error) {
	r := &request{topic: m.Topic, message: publishing(m), sent: make(chan sending, 1)}
	select {
	case p.requests <- r:
	case <-p.ctx.Done():
		return sending{}, errClosed
	case <-ctx.Done():
		return sending{}, context.Cause(ctx)
	}
	select {
	case s := <-r.sent:
		return s, s.err
	case <-ctx.Done():
		return sending{}, context.Cause(ctx)
	}
}

// wait returns when RabbitMQ has said what became of the message.
func (s sending) wait(ctx context.Context) error {
	select {
	case <-s.confirm.Done():
	case <-s.link.gone:
		return errors.New("the connection was lost before the confirmation")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case s.link.unroutable(s.token):
		return messaging.ErrNoRoute
	case !s.confirm.Acked():
		return errors.New("RabbitMQ could not take it (nack)")
	default:
		return nil
	}
}
