package saga

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
)

// slow is a store whose commits last until they are let go or their context ends.
type slow struct {
	*Memory
	letGo chan struct{}
}

func (s *slow) Commit(ctx context.Context, writes []Write) ([]Verdict, error) {
	select {
	case <-s.letGo:
		return s.Memory.Commit(ctx, writes)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// T10: who leads a commit and loses its lease meanwhile does not fence others whose
// writes were in it: a Start among them goes on trying.
func TestFencedLeaderFencesNoFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &committer{guard: &guard{store: &slow{NewMemory(), make(chan struct{}, 1)}}}
		leads, lose := context.WithCancelCause(t.Context())
		errs := map[string]*error{"first": new(error), "leader": new(error), "follower": new(error)}
		commit := func(ctx context.Context, id string) {
			go func() {
				_, *errs[id] = c.commit(ctx, &pending{write: Write{Summary: Summary{ID: id}}})
			}()
			synctest.Wait()
		}
		commit(t.Context(), "first")
		commit(leads, "leader")
		commit(t.Context(), "follower")
		c.store.(*slow).letGo <- struct{}{}
		synctest.Wait()
		lose(ErrFenced)
		synctest.Wait()
		assert.NoError(t, *errs["first"])
		assert.ErrorIs(t, *errs["leader"], ErrFenced)
		assert.Error(t, *errs["follower"])
		assert.False(t, final(*errs["follower"]))
	})
}

// picky refuses every commit with a write that it does not like.
type picky struct{ *slow }

func (s *picky) Commit(ctx context.Context, writes []Write) ([]Verdict, error) {
	if slices.ContainsFunc(writes, func(w Write) bool { return w.Summary.ID == "bad" }) {
		return nil, errors.New("a text that this store cannot keep")
	}
	return s.slow.Commit(ctx, writes)
}

// T37: a write that the store refuses fails alone: what shares its commit is stored.
func TestRefusedWriteFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &picky{&slow{NewMemory(), make(chan struct{}, 1)}}
		c := &committer{guard: &guard{store: store}}
		ids := []string{"first", "a", "b", "c", "bad", "d", "e", "f"}
		errs := make([]error, len(ids))
		for i, id := range ids {
			go func() {
				_, errs[i] = c.commit(t.Context(), &pending{write: Write{Summary: Summary{ID: id}}})
			}()
			synctest.Wait()
		}
		close(store.letGo)
		synctest.Wait()
		for i, id := range ids {
			assert.Equal(t, id == "bad", errs[i] != nil, id)
		}
	})
}

// moody is a store that panics, or ends the goroutine, when it is told to.
type moody struct {
	*slow
	exit map[string]func()
}

func (m *moody) Commit(ctx context.Context, writes []Write) ([]Verdict, error) {
	verdicts, err := m.slow.Commit(ctx, writes)
	for _, w := range writes {
		if exit := m.exit[w.Summary.ID]; exit != nil {
			exit()
		}
	}
	return verdicts, err
}

// A store that panics in Commit, or ends the goroutine, fails the write that it does so
// for, with an error that names the store: neither stops the commits of others, nor ends
// a goroutine of theirs.
func TestStoreThatPanicsWedgesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moody{&slow{NewMemory(), make(chan struct{})}, map[string]func(){
			"panics": func() { panic("boom") }, "exits": runtime.Goexit,
		}}
		var log bytes.Buffer
		c := &committer{guard: &guard{store: store, log: slog.New(slog.NewTextHandler(&log, nil))}}
		ids := []string{"panics", "exits", "panics", "a", "b"}
		errs := make([]error, len(ids))
		ended := make([]bool, len(ids))
		for i, id := range ids {
			go func() {
				_, errs[i] = c.commit(t.Context(), &pending{write: Write{Summary: Summary{ID: id}}})
				ended[i] = true
			}()
			synctest.Wait()
		}
		close(store.letGo)
		synctest.Wait()
		assert.Equal(t, []bool{true, true, true, true, true}, ended)
		assert.Error(t, errs[0])
		assert.Equal(t, "saga: Commit of *saga.moody panicked: boom", errs[0].Error())
		for _, err := range errs {
			assert.False(t, err != nil && final(err), "it may be repeated")
		}
		assert.Equal(t, "saga: Commit of *saga.moody ended its goroutine (runtime.Goexit)", errs[1].Error())
		assert.NoError(t, errs[3])
		assert.NoError(t, errs[4])
		_, err := c.commit(t.Context(), &pending{write: Write{Summary: Summary{ID: "later"}}})
		assert.NoError(t, err)
		_, err = c.commit(t.Context(), &pending{write: Write{Summary: Summary{ID: "panics"}}})
		assert.Equal(t, errs[0].Error(), err.Error())
		assert.Equal(t, 1, strings.Count(log.String(), "(*moody).Commit"), "its stack is logged once: "+log.String())
	})
}

// laggard is a store whose commits take time, and count.
type laggard struct {
	*Memory
	took    time.Duration
	commits int
}

func (l *laggard) Commit(ctx context.Context, writes []Write) ([]Verdict, error) {
	time.Sleep(l.took)
	l.commits++
	return l.Memory.Commit(ctx, writes)
}

// Writers that shared a slow commit share the next one as well: the first of them to
// come back lets the others catch up. They would else wait for two commits in turn.
func TestWritersOfASlowStoreStayTogether(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that it is known who comes first
	synctest.Test(t, func(t *testing.T) {
		const writers, rounds = 8, 20
		store := &laggard{Memory: NewMemory(), took: time.Millisecond}
		c := &committer{guard: &guard{store: store}}
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for n := range rounds {
					_, err := c.commit(t.Context(), &pending{write: Write{Summary: Summary{ID: fmt.Sprint(w, "/", n)}}})
					assert.NoError(t, err)
				}
			})
		}
		all.Wait()
		assert.True(t, store.commits <= rounds*3/2, fmt.Sprint(store.commits, " commits for ", rounds, " rounds"))
	})
}
