// Package l2 puts the in-memory cache server of cachetest behind HTTP, so that
// services in processes of their own share it: Front is the server, Client what a
// service reaches it by, itself a cache.Remote and a cache.Bus. Redis takes the place
// of both.
//
// It speaks JSON with the limits that all services have, so keys are UTF-8 and a record
// has some tens of kilobytes at most: enough for a shop, and less than the contract of
// cache.Remote, whose suite it passes but for names that are no text and large ones.
package l2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Routes are those of the cache server as a service. What it holds is the cluster's,
// which outlives it.
func Routes(cluster *cachetest.Cluster) func(*wire.Node) (*http.ServeMux, error) {
	node := cluster.Node()
	return func(n *wire.Node) (*http.ServeMux, error) {
		mux := http.NewServeMux()
		mux.Handle("POST /get", answer(func(ctx context.Context, in getArgs) ([]cache.Record, error) {
			return node.Get(ctx, in.Queries, in.Lease)
		}))
		mux.Handle("POST /put", answer(func(ctx context.Context, in []cache.Fill) ([]bool, error) { return node.Put(ctx, in) }))
		mux.Handle("POST /invalidate", answer(func(ctx context.Context, in cache.Message) (cache.Message, error) {
			return node.Invalidate(ctx, in)
		}))
		mux.Handle("POST /generations", answer(func(ctx context.Context, in []string) (cache.Generations, error) {
			return node.Generations(ctx, in)
		}))
		mux.Handle("POST /publish", answer(func(ctx context.Context, in cache.Message) (struct{}, error) {
			return struct{}{}, node.Publish(ctx, in)
		}))
		mux.Handle("POST /messages", answer(func(ctx context.Context, in pollArgs) ([]cache.Message, error) {
			return poll(ctx, node, n.Stopping(), in)
		}))
		return mux, nil
	}
}

type getArgs struct {
	Queries []cache.Query
	Lease   time.Duration
}

type pollArgs struct {
	After uint64
	Wait  time.Duration
}

// answer adapts a function of JSON to JSON.
func answer[In, Out any](fn func(context.Context, In) (Out, error)) http.Handler {
	return wire.Handler(func(w http.ResponseWriter, r *http.Request) error {
		body, err := wire.ReadBody(w, r)
		if err != nil {
			return err
		}
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return wire.NewProblem(http.StatusBadRequest, "malformed", err.Error())
		}
		out, err := fn(r.Context(), in)
		if err != nil {
			return wire.NewProblem(http.StatusServiceUnavailable, "cache", err.Error())
		}
		return wire.WriteJSON(w, http.StatusOK, out)
	})
}

// poll collects messages behind a position: first the position itself, and then, or at
// the end of the time, the next thing that the server says. A server that stops lets
// nobody wait.
func poll(ctx context.Context, node *cachetest.Node, stopping <-chan struct{}, in pollArgs) (got []cache.Message, _ error) {
	ctx, cancel := context.WithTimeout(ctx, in.Wait)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		select {
		case <-stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	err := node.Subscribe(ctx, in.After, func(m cache.Message) {
		if len(got) > 0 && m.Seq == got[len(got)-1].Seq {
			return // the position once more
		}
		if got = append(got, m); len(got) > 1 {
			cancel() // what comes behind it is for the next poll
		}
	})
	if len(got) == 0 && err != nil {
		return nil, err
	}
	return got, nil
}

// Client is the cache server as a service sees it.
type Client struct {
	node *wire.Node
	http *wire.Client
	wait time.Duration
}

// Dial returns a client of the server that n knows as callee "cache".
func Dial(n *wire.Node) (cache.Remote, cache.Bus) {
	c := &Client{node: n, http: n.Client("cache", true), wait: min(n.Settings().Composite*3/4, time.Second)}
	return c, c
}

// call makes one try: package cache knows better than we what a failure means.
func call[Out any](ctx context.Context, c *Client, path string, in any) (out Out, err error) {
	return do[Out](ctx, c, wire.Request{Method: http.MethodPost, Path: path, Once: true}, in)
}

func do[Out any](ctx context.Context, c *Client, r wire.Request, in any) (out Out, err error) {
	if r.Body, err = json.Marshal(in); err != nil {
		return out, err
	}
	answer, err := c.http.Do(ctx, r)
	if err != nil {
		return out, err
	}
	if answer.Status != http.StatusOK {
		return out, fmt.Errorf("cache: answered %s: %s", strconv.Itoa(answer.Status), answer.Detail())
	}
	return out, json.Unmarshal(answer.Body, &out)
}

// Get implements cache.Remote.
func (c *Client) Get(ctx context.Context, queries []cache.Query, lease time.Duration) ([]cache.Record, error) {
	return call[[]cache.Record](ctx, c, "/get", getArgs{queries, lease})
}

// Put implements cache.Remote.
func (c *Client) Put(ctx context.Context, fills []cache.Fill) ([]bool, error) {
	return call[[]bool](ctx, c, "/put", fills)
}

// Invalidate implements cache.Remote.
func (c *Client) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	return call[cache.Message](ctx, c, "/invalidate", m)
}

// Generations implements cache.Remote.
func (c *Client) Generations(ctx context.Context, tags []string) (cache.Generations, error) {
	return call[cache.Generations](ctx, c, "/generations", tags)
}

// Publish implements cache.Bus.
func (c *Client) Publish(ctx context.Context, m cache.Message) error {
	_, err := call[struct{}](ctx, c, "/publish", m)
	return err
}

// longest is how long a poll waits at most: its answer is the bus's sign of life, without
// which a cache trusts nothing that it holds after five seconds (cache.Config.MaxLag).
const longest = 3 * time.Second

// Subscribe implements cache.Bus by long polls. A poll begins with the position that
// it starts behind; where that is the last one, nothing was lost in between, and the
// subscriber need not hear of it.
func (c *Client) Subscribe(ctx context.Context, after uint64, deliver func(cache.Message)) error {
	last, first, came := after, true, false
	for patience := c.node.Patience(c.wait, longest); ; {
		wait, beyond := patience.Wait(came)
		got, err := do[[]cache.Message](ctx, c, wire.Request{Method: http.MethodPost, Path: "/messages", Once: true, Poll: true, Wait: beyond}, pollArgs{last, wait})
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if len(got) == 0 {
			return errors.New("cache: a poll without a position")
		}
		came = len(got) > 1
		for i, m := range got {
			if i == 0 && !first && m.Seq == last && len(got) > 1 {
				continue
			}
			first = false
			deliver(m)
			last = m.Seq
		}
	}
}
