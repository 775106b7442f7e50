package eventtest_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestMemoryConforms(t *testing.T) {
	eventtest.TestStore(t, func(*testing.T) eventsource.Store { return eventsource.NewMemory() })
}

func TestMemoryConformsAsCheckpoints(t *testing.T) {
	eventtest.TestCheckpoints(t, func(*testing.T) eventsource.Checkpoints { return eventsource.NewMemory() })
}

// offender is a store with one mistake, and the test that must see it.
type offender struct {
	name, test string
	store      func() eventsource.Store
}

// A suite that passes everything is worth nothing: each offender must fail the
// test made for it. It runs in a process of its own, since its tests fail.
func TestOffendersAreCaught(t *testing.T) {
	if name := os.Getenv("EVENTTEST_OFFENDER"); name != "" {
		offend(t, name)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for name, test := range everyOffender() {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			test := strings.ReplaceAll(test, " ", "_")
			cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestOffendersAreCaught$/^"+test+"$", "-test.timeout", "60s")
			cmd.Env = append(os.Environ(), "EVENTTEST_OFFENDER="+name)
			out, err := cmd.CombinedOutput()
			assert.Error(t, err, "%s is not caught by %s", name, test)
			assert.Contains(t, string(out), "--- FAIL: TestOffendersAreCaught/"+test, name)
		})
	}
	wg.Wait()
}

// Each test of the suite must have an offender, or nobody has seen it fail.
func TestEachTestHasAnOffender(t *testing.T) {
	caught := map[string]bool{}
	for _, test := range everyOffender() {
		caught[test] = true
	}
	for _, name := range eventtest.NamesOfTests() {
		assert.True(t, caught[name], name)
	}
}

func everyOffender() map[string]string {
	tests := map[string]string{}
	for _, o := range slices.Concat(offenders, deciding) {
		tests[o.name] = o.test
	}
	for _, o := range checkpointOffenders {
		tests[o.name] = o.test
	}
	return tests
}

func offend(t *testing.T, name string) {
	eventtest.SetPatience(2 * time.Second)
	for _, o := range slices.Concat(offenders, deciding) {
		if o.name == name {
			eventtest.TestStore(t, func(*testing.T) eventsource.Store { return o.store() })
		}
	}
	for _, o := range checkpointOffenders {
		if o.name == name {
			eventtest.TestCheckpoints(t, func(*testing.T) eventsource.Checkpoints { return o.checkpoints() })
		}
	}
}

// checkpointOffender is the same for checkpoints.
type checkpointOffender struct {
	name, test  string
	checkpoints func() eventsource.Checkpoints
}

// saves is a Memory whose SaveCheckpoint has a mistake.
type saves struct {
	*eventsource.Memory
	save func(m *eventsource.Memory, ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error
	load func(m *eventsource.Memory, ctx context.Context, name string) (eventsource.Checkpoint, error)
}

func (s *saves) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	if s.save == nil {
		return s.Memory.SaveCheckpoint(ctx, name, old, new, apply)
	}
	return s.save(s.Memory, ctx, name, old, new, apply)
}

func (s *saves) LoadCheckpoint(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	if s.load == nil {
		return s.Memory.LoadCheckpoint(ctx, name)
	}
	return s.load(s.Memory, ctx, name)
}
