package saga

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

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
		c := &committer{store: &slow{NewMemory(), make(chan struct{}, 1)}}
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
		c := &committer{store: store}
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
