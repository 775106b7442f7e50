package cache_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// bomb goes off once.
type bomb struct {
	armed atomic.Bool
	exits bool
}

func (b *bomb) tick() {
	if b.armed.CompareAndSwap(true, false) {
		if b.exits {
			runtime.Goexit()
		}
		panic(errBroken)
	}
}

type bombCodec struct{ bomb *bomb }

func (c bombCodec) Encode(v string) ([]byte, error)    { c.bomb.tick(); return []byte(v), nil }
func (c bombCodec) Decode(data []byte) (string, error) { c.bomb.tick(); return string(data), nil }

// caught runs f on a goroutine and returns what it panicked with, if it did.
func caught(f func()) (panicked any, returned bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f()
		returned = true
	}()
	<-done
	return panicked, returned
}

// T27: whatever a callback does, nobody waits for ever, and neither the slot nor
// the lease is lost.
func TestPanicAndGoexitReleaseEverybody(t *testing.T) {
	for name, use := range map[string]func(*config, *bomb){
		"Load": func(c *config, b *bomb) {
			c.Load = func(context.Context, string) (string, error) { b.tick(); return "v", nil }
		},
		"LoadMany": func(c *config, b *bomb) {
			c.LoadMany = func(_ context.Context, keys []string) (map[string]string, error) {
				b.tick()
				return map[string]string{keys[0]: "v"}, nil
			}
		},
		"LoadEntry": func(c *config, b *bomb) {
			c.LoadEntry = func(context.Context, string, *cache.Entry[string]) (cache.Entry[string], error) {
				b.tick()
				return cache.Entry[string]{Value: "v"}, nil
			}
		},
		"Weigh": func(c *config, b *bomb) {
			c.Load = newSource("a", "v", "b", "v").load
			c.MaxWeight, c.Weigh = 100, func(string, string) int64 { b.tick(); return 1 }
		},
		"Codec": func(c *config, b *bomb) {
			c.Load, c.Codec = newSource("a", "v", "b", "v").load, bombCodec{b}
		},
	} {
		for _, exits := range []bool{false, true} {
			for _, many := range []bool{false, true} {
				bubble(t, func(t *testing.T) {
					b := &bomb{exits: exits}
					conf := config{}
					use(&conf, b)
					c, _ := node(t, cachetest.NewCluster(1), conf)
					b.armed.Store(true)
					var err error
					panicked, returned := caught(func() {
						if many {
							_, err = c.GetMany(t.Context(), []string{"a"})
						} else {
							_, err = c.Get(t.Context(), "a")
						}
					})
					if exits {
						assert.True(t, returned, name)
						_, ok := errors.AsType[*cache.LoadError](err)
						assert.True(t, ok, name)
					} else {
						p, ok := panicked.(*cache.PanicError)
						require.True(t, ok, "%s: %v", name, panicked)
						assert.ErrorIs(t, p, errBroken)
						assert.True(t, strings.Contains(string(p.Stack), "tick"))
					}
					synctest.Wait()
					assert.Equal(t, 0, cache.Running(c))
					begun := time.Now()
					assert.Equal(t, "v", get(t, c, "a"), name)
					assert.Equal(t, time.Duration(0), time.Since(begun), "%s: the lease was released", name)
				})
			}
		}
	}
}

// T27, Save: the panic is the caller's own. What the source has is unknown, so the
// key is invalidated.
func TestPanicInSaveInvalidates(t *testing.T) {
	for _, exits := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			b := &bomb{exits: exits}
			c, _ := node(t, cachetest.NewCluster(1), config{
				Save: func(context.Context, map[string]string) error { b.tick(); return nil },
			})
			require.NoError(t, c.Set(t.Context(), "a", "1"))
			b.armed.Store(true)
			panicked, returned := caught(func() { _ = c.Set(t.Context(), "a", "2") })
			assert.False(t, returned)
			assert.Equal(t, exits, panicked == nil)
			_, err := c.Lookup(t.Context(), "a")
			assert.True(t, err == cache.ErrNotFound)
			assert.Equal(t, 0, cache.Running(c))
			require.NoError(t, c.Set(t.Context(), "a", "3"))
			assert.Equal(t, "3", get(t, c, "a"))
		})
	}
}

func TestEveryWaiterPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := open(t, config{Load: func(context.Context, string) (string, error) { <-gate; panic("boom") }})
		panics := make(chan any, 3)
		for range 3 {
			go func() {
				p, _ := caught(func() { _, _ = c.Get(t.Context(), "a") })
				panics <- p
			}()
		}
		synctest.Wait()
		close(gate)
		for range 3 {
			p, ok := (<-panics).(*cache.PanicError)
			require.True(t, ok)
			assert.Equal(t, any("boom"), p.Value)
		}
	})
}

func TestCallbacksMayReenter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var c *store
		src := newSource("a", "1")
		removedOnce := false
		var told atomic.Int64
		c = open(t, config{
			Load: src.load,
			OnRemove: func(k, _ string) {
				if !removedOnce {
					removedOnce = true
					assert.NoError(t, c.Set(t.Context(), k, "again"))
				}
			},
			OnEvent: func(e cache.Event) {
				if told.Add(1) < 10 {
					_, _ = c.Get(t.Context(), e.Key)
				}
			},
		})
		get(t, c, "a")
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		assert.Equal(t, "again", get(t, c, "a"))
		_, err := c.Get(t.Context(), "b")
		assert.ErrorIs(t, err, cache.ErrNotFound)
		src.fail(errBroken)
		begun := time.Now()
		_, err = c.Get(t.Context(), "c")
		assert.ErrorIs(t, err, errBroken)
		synctest.Wait()
		assert.Equal(t, int64(10), told.Load())
		assert.Equal(t, time.Duration(0), time.Since(begun))
	})
}
