package cacheredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// conn is how scripts reach Redis.
type conn struct {
	client redis.UniversalClient

	// At most one of them is set.
	one     interface{ Options() *redis.Options }
	cluster interface {
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
		ReloadState(ctx context.Context)
		Options() *redis.ClusterOptions
	}
	bounded bool // the client keeps to deadlines itself
}

func newConn(client redis.UniversalClient) (conn, error) {
	c := conn{client: client}
	switch typed := any(client).(type) {
	case interface{ Options() *redis.Options }:
		c.one, c.bounded = typed, typed.Options().ContextTimeoutEnabled
	case interface {
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
		ReloadState(ctx context.Context)
		Options() *redis.ClusterOptions
	}:
		c.cluster = typed // it asks for the list of commands with a timeout of its own, whatever it was told
	default:
		return conn{}, fmt.Errorf("cacheredis: client is %T; it has to be a *redis.Client or a *redis.ClusterClient", client)
	}
	return c, nil
}

// many tells whether keys may be in different slots.
func (c *conn) many() bool { return c.cluster != nil }

// primary is the node that the key is written on.
func (c *conn) primary(ctx context.Context, key string) (*redis.Options, error) {
	if c.cluster == nil {
		return c.one.Options(), nil
	}
	node, err := c.cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return node.Options(), nil
}

// run runs calls, several in one pipeline, and returns the first error.
func (c *conn) run(ctx context.Context, calls []*call) error {
	if len(calls) == 0 {
		return context.Cause(ctx)
	}
	err := c.within(ctx, func() error { return runOn(ctx, c.client, calls) })
	c.learn(ctx, err)
	return err
}

// within returns when f does or ctx ends. go-redis never looks whether a context
// was cancelled, and at deadlines only if told to.
func (c *conn) within(ctx context.Context, f func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	_, deadline := ctx.Deadline()
	if ctx.Done() == nil || c.bounded && deadline {
		return withCause(ctx, f())
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return withCause(ctx, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// withCause makes an error match why the context ended, if it did.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// runner is what scripts run on: a client, or one connection.
type runner interface {
	Process(ctx context.Context, cmd redis.Cmder) error
	Pipeline() redis.Pipeliner
}

func runOn(ctx context.Context, on runner, calls []*call) error {
	if len(calls) == 1 {
		c := calls[0]
		err := on.Process(ctx, c.prepare(ctx, false))
		if unknown(err) {
			err = on.Process(ctx, c.prepare(ctx, true))
		}
		return err
	}
	pipe := on.Pipeline()
	for _, c := range calls {
		if err := pipe.Process(ctx, c.prepare(ctx, false)); err != nil {
			return err
		}
	}
	_, err := pipe.Exec(ctx)
	return repair(ctx, on, calls, err)
}

// repair sends those calls of a pipeline again, whole, whose script the server
// did not know. The others have had their effect.
func repair(ctx context.Context, on runner, calls []*call, err error) error {
	var again []*call
	for _, c := range calls {
		switch failed := c.reply.Err(); {
		case unknown(failed):
			again = append(again, c)
		case failed != nil:
			return failed
		}
	}
	if len(again) == 0 {
		return err
	}
	pipe := on.Pipeline()
	for _, c := range again {
		if err := pipe.Process(ctx, c.prepare(ctx, true)); err != nil {
			return err
		}
	}
	_, err = pipe.Exec(ctx)
	return err
}

func unknown(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

// confirmed is run, and waits until so many replicas have the effect.
func (c *conn) confirmed(ctx context.Context, calls []*call, replicas int) error {
	if replicas == 0 || len(calls) == 0 {
		return c.run(ctx, calls)
	}
	err := c.within(ctx, func() error {
		groups, err := c.byPrimary(ctx, calls)
		if err != nil {
			return err
		}
		for node, group := range groups {
			if err := runAndWait(ctx, node, group, replicas); err != nil {
				return err
			}
		}
		return nil
	})
	c.learn(ctx, err)
	return err
}

// waitLimit bounds WAIT for a caller without a deadline.
const waitLimit = time.Second

// runAndWait runs calls on one connection, since WAIT is about the writes of the
// connection that it comes by.
func runAndWait(ctx context.Context, node connector, calls []*call, replicas int) error {
	on := node.Conn()
	defer on.Close()
	if err := runOn(ctx, on, calls); err != nil {
		return err
	}
	limit := waitLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(time.Until(deadline)*3/4, time.Millisecond) // the answer has to come back in time
	}
	got, err := on.Wait(ctx, replicas, limit).Result()
	if err == nil && got < int64(replicas) {
		err = fmt.Errorf("cacheredis: %d of %d replicas confirmed the invalidation", got, replicas)
	}
	return err
}

// connector is a client of one node.
type connector interface{ Conn() *redis.Conn }

// byPrimary groups calls by the node that has the slot of their first key.
func (c *conn) byPrimary(ctx context.Context, calls []*call) (map[connector][]*call, error) {
	if c.cluster == nil {
		node, ok := c.client.(connector)
		if !ok {
			return nil, fmt.Errorf("cacheredis: Config.WaitReplicas needs a client with Conn, not a %T", c.client)
		}
		return map[connector][]*call{node: calls}, nil
	}
	groups := make(map[connector][]*call)
	for _, one := range calls {
		node, err := c.cluster.MasterForKey(ctx, one.firstKey())
		if err != nil {
			return nil, err
		}
		groups[node] = append(groups[node], one)
	}
	return groups, nil
}

// learn lets a Cluster client look at the slots anew, in the background, after a
// call has failed. By itself it does so when a node says that a slot has moved,
// which the dead primary of a slot never does; and the time to try others is over
// with the deadline of the call.
func (c *conn) learn(ctx context.Context, err error) {
	if c.cluster != nil && err != nil {
		c.cluster.ReloadState(context.WithoutCancel(ctx))
	}
}
