package cacheredis

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/redis/go-redis/v9"
)

const (
	// beat is how often a subscriber is told its position; the contract asks for
	// once a second, on a busy machine too.
	beat = 400 * time.Millisecond

	// patience is how long the server may take for an answer beyond what it was
	// asked to wait: longer, and the link counts as broken.
	patience = time.Second

	// batch is the most messages that are read at once.
	batch = 256
)

// subscription is one Subscribe on a connection of its own.
type subscription struct {
	store   *Store
	client  *redis.Client // has this connection and none else
	conn    *redis.Conn
	deliver func(cache.Message)
	pos     uint64
	mark    string // of the message at pos
}

// Subscribe implements [cache.Bus].
func (s *Store) Subscribe(ctx context.Context, after uint64, deliver func(cache.Message)) error {
	var options *redis.Options
	err := s.conn.within(ctx, func() (err error) {
		options, err = s.conn.primary(ctx, s.bus)
		return err
	})
	if err != nil {
		return err
	}
	var link link
	client := redis.NewClient(dedicated(options, &link))
	defer client.Close()
	sub := &subscription{store: s, client: client, conn: client.Conn(), deliver: deliver}
	defer sub.conn.Close()
	// A read that blocks does not notice that ctx ends. The end of its connection
	// it does.
	defer context.AfterFunc(ctx, link.close)()

	follow := sub.followStream
	if s.config.PubSub {
		follow = sub.followChannel
	}
	err = follow(ctx, after)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	s.conn.learn(ctx, err)
	return err
}

// followStream reads the log: blocking for what is new, and once per beat
// together with its head, since only that shows what has been lost.
func (s *subscription) followStream(ctx context.Context, after uint64) error {
	if err := s.seek(ctx, after); err != nil {
		return err
	}
	defer func() { s.store.marks.remember(s.pos, s.mark) }()
	s.deliver(cache.Message{Seq: s.pos})
	due := time.Now().Add(beat)
	for ctx.Err() == nil {
		wait := time.Until(due)
		if wait < time.Millisecond {
			more, err := s.beat(ctx)
			if err != nil {
				return err
			}
			if !more {
				due = time.Now().Add(beat)
			}
			continue
		}
		if err := s.read(ctx, wait); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// seek finds out where delivery starts.
func (s *subscription) seek(ctx context.Context, after uint64) error {
	reply, err := s.call(ctx, positionScript, after, s.store.marks.recall(after))
	if err != nil {
		return err
	}
	return s.at(reply, 2)
}

// at takes a position and its mark out of the first elements of a reply.
func (s *subscription) at(reply []any, length int) (err error) {
	if len(reply) != length {
		return errReply
	}
	if s.pos, err = parseNumber(reply[0]); err != nil {
		return err
	}
	s.mark, _ = reply[1].(string)
	return nil
}

// read delivers what comes within a time.
func (s *subscription) read(ctx context.Context, wait time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, wait+patience)
	defer cancel()
	streams, err := s.conn.XRead(bounded, &redis.XReadArgs{
		Streams: []string{s.store.bus, behind(s.pos)}, Count: batch, Block: wait,
	}).Result()
	if err == redis.Nil { //nolint:errorlint // go-redis returns it as it is
		return nil
	}
	if err != nil {
		return err
	}
	for _, stream := range streams {
		for _, m := range stream.Messages {
			generation, _ := m.Values["g"].(string)
			message, _ := m.Values["m"].(string)
			if err := s.pass(ctx, m.ID, generation, message); err != nil {
				return err
			}
		}
	}
	return nil
}

// beat delivers what is behind the position, and then the position itself if
// that was all.
func (s *subscription) beat(ctx context.Context) (more bool, err error) {
	reply, err := s.call(ctx, beatScript, s.pos, batch, s.store.config.StreamLen)
	if err != nil {
		return false, err
	}
	if len(reply) != 3 {
		return false, errReply
	}
	entries, _ := reply[2].([]any)
	for _, e := range entries {
		id, fields, err := entry(e)
		if err != nil {
			return false, err
		}
		if err := s.pass(ctx, id, fields["g"], fields["m"]); err != nil {
			return false, err
		}
	}
	if len(entries) == batch {
		return true, nil
	}
	if err := s.at(reply, 3); err != nil {
		return false, err
	}
	if ctx.Err() == nil {
		s.deliver(cache.Message{Seq: s.pos})
	}
	return false, nil
}

// pass delivers one message of the log.
func (s *subscription) pass(ctx context.Context, id, generation, message string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	seq, mark, err := splitID(id)
	if err != nil {
		return err
	}
	m, err := decodeMessage(message)
	if err != nil {
		return fmt.Errorf("%w: id %s", err, id)
	}
	if m.Generation, err = parseNumber(generation); err != nil {
		return err
	}
	m.Seq = seq
	s.pos, s.mark = seq, mark
	s.deliver(m)
	return nil
}

// call runs a script on the log over the connection.
func (s *subscription) call(ctx context.Context, script *script, args ...any) ([]any, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := newCall(script, 1, len(args))
	c.add(s.store.bus)
	c.add(args...)
	if err := runOn(bounded, s.conn, []*call{c}); err != nil {
		return nil, err
	}
	return c.reply.Slice()
}
