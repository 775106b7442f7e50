package cacheredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/redis/go-redis/v9"
)

var (
	errLost   = errors.New("cacheredis: messages on the channel were lost")
	errBehind = errors.New("cacheredis: the server has gone back behind what it has sent")
)

// followChannel listens. What is published before the channel is joined is lost,
// so it starts at the head, whatever was asked for.
//
// Messages and the counter come by different connections, and the counter may be
// the faster one: it is compared one beat later, when what it counted has come or
// never will.
func (s *subscription) followChannel(ctx context.Context, _ uint64) error {
	channel := s.client.Subscribe(ctx, s.store.bus)
	defer channel.Close()
	if err := s.join(ctx, channel); err != nil {
		return err
	}
	s.deliver(cache.Message{Seq: s.pos})

	ctx, cancel := context.WithCancelCause(ctx)
	var reader sync.WaitGroup
	defer func() {
		cancel(nil)
		channel.Close()
		reader.Wait()
	}()
	payloads := make(chan string)
	reader.Go(func() { cancel(receive(ctx, channel, payloads)) })

	counted := s.pos
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for {
		select {
		case payload := <-payloads:
			if err := s.take(ctx, payload); err != nil {
				return err
			}
		case <-beats.C:
			if counted > s.pos {
				return errLost
			}
			s.deliver(cache.Message{Seq: s.pos})
			var err error
			if counted, err = s.count(ctx); err != nil {
				return err
			}
			if counted < s.pos {
				return errBehind
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// receive hands over what comes, until the channel breaks or ctx ends.
func receive(ctx context.Context, channel *redis.PubSub, payloads chan<- string) error {
	for {
		received, err := channel.Receive(ctx)
		if err != nil {
			return err
		}
		if message, ok := received.(*redis.Message); ok {
			select {
			case payloads <- message.Payload:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// join waits until the server has confirmed the subscription, and then takes the
// head: messages up to it may still come and are skipped.
func (s *subscription) join(ctx context.Context, channel *redis.PubSub) (err error) {
	confirmed, err := channel.ReceiveTimeout(ctx, patience)
	if err != nil {
		return err
	}
	if _, ok := confirmed.(*redis.Subscription); !ok {
		return errReply
	}
	s.pos, err = s.count(ctx)
	return err
}

func (s *subscription) count(ctx context.Context) (uint64, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := newCall(countScript, 1, 0)
	c.add(s.store.bus)
	if err := runOn(bounded, s.conn, []*call{c}); err != nil {
		return 0, err
	}
	return parseNumber(c.reply.Val())
}

// take delivers a message of the channel.
func (s *subscription) take(ctx context.Context, payload string) error {
	number, rest, _ := strings.Cut(payload, " ")
	generation, body, _ := strings.Cut(rest, " ")
	seq, err := parseNumber(number)
	if err != nil || seq <= s.pos {
		return err
	}
	m, err := decodeMessage(body)
	if err != nil {
		return fmt.Errorf("%w: number %d", err, seq)
	}
	if m.Generation, err = parseNumber(generation); err != nil {
		return err
	}
	m.Seq, s.pos = seq, seq
	if ctx.Err() == nil {
		s.deliver(m)
	}
	return nil
}
