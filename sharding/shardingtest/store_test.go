package shardingtest_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/shardingtest"
)

func TestMemoryConforms(t *testing.T) {
	shardingtest.TestStore(t, func(*testing.T) sharding.Store { return new(sharding.Memory) })
}

// offenders are stores with one mistake each, and the test that must see it.
var offenders = map[string]func() sharding.Store{
	"only the next epoch is accepted":  func() sharding.Store { return &lastWins{} },
	"the stored document again is nil": func() sharding.Store { return &strict{} },
	"wait ends with its context":       func() sharding.Store { return &deaf{} },
	"ended contexts are not ignored":   func() sharding.Store { return &ignorant{} },
	"documents do not alias":           func() sharding.Store { return &aliasing{} },
}

// lastWins overwrites whatever is there.
type lastWins struct{ sharding.Memory }

func (s *lastWins) Put(ctx context.Context, doc sharding.Document) error {
	s.Memory = sharding.Memory{}
	for epoch := uint64(1); epoch < min(doc.Epoch, 10); epoch++ {
		_ = s.Memory.Put(ctx, sharding.Document{Epoch: epoch})
	}
	return s.Memory.Put(ctx, doc)
}

// strict refuses to store a document twice.
type strict struct {
	sharding.Memory
	last uint64
}

func (s *strict) Put(ctx context.Context, doc sharding.Document) error {
	if doc.Epoch == s.last {
		return sharding.ErrConflict
	}
	err := s.Memory.Put(ctx, doc)
	if err == nil {
		s.last = doc.Epoch
	}
	return err
}

// deaf returns an error of its own.
type deaf struct{ sharding.Memory }

func (s *deaf) Wait(ctx context.Context, after uint64) error {
	if s.Memory.Wait(ctx, after) != nil {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// ignorant works on when nobody waits for it any more.
type ignorant struct{ sharding.Memory }

func (s *ignorant) Load(ctx context.Context) (sharding.Document, error) {
	return s.Memory.Load(context.WithoutCancel(ctx))
}

// aliasing hands out what it keeps.
type aliasing struct {
	sharding.Memory
	doc *sharding.Document
}

func (s *aliasing) Put(ctx context.Context, doc sharding.Document) error {
	err := s.Memory.Put(ctx, doc)
	if err == nil {
		s.doc = &doc
	}
	return err
}

func (s *aliasing) Load(ctx context.Context) (sharding.Document, error) {
	if s.doc != nil {
		return *s.doc, nil
	}
	return s.Memory.Load(ctx)
}

// A suite that passes everything is worth nothing: each offender must fail the
// test made for it. It runs in a process of its own, since its tests fail.
func TestOffendersAreCaught(t *testing.T) {
	if name := os.Getenv("SHARDINGTEST_OFFENDER"); name != "" {
		shardingtest.TestStore(t, func(*testing.T) sharding.Store { return offenders[name]() })
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for name := range offenders {
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestOffendersAreCaught$/^"+underscored(name)+"$")
		cmd.Env = append(os.Environ(), "SHARDINGTEST_OFFENDER="+name)
		out, err := cmd.CombinedOutput()
		assert.Error(t, err, "%s", name)
		assert.Contains(t, string(out), "--- FAIL: TestOffendersAreCaught/"+underscored(name))
	}
}

func underscored(name string) string {
	b := []byte(name)
	for i := range b {
		if b[i] == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}
