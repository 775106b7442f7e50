//go:build unix

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// fakeTB records how a test ended.
type fakeTB struct {
	ended    string // "fatal" or "skip", and why
	errors   []string
	cleanups []func()
}

func (f *fakeTB) Helper()                      {}
func (f *fakeTB) Cleanup(fn func())            { f.cleanups = append(f.cleanups, fn) }
func (f *fakeTB) Errorf(s string, args ...any) { f.errors = append(f.errors, fmt.Sprintf(s, args...)) }
func (f *fakeTB) Fatalf(s string, args ...any) { f.end("fatal: " + fmt.Sprintf(s, args...)) }
func (f *fakeTB) Skipf(s string, args ...any)  { f.end("skip: " + fmt.Sprintf(s, args...)) }
func (f *fakeTB) end(how string)               { f.ended = how; runtime.Goexit() }

// run runs a test on its own goroutine, as package testing does.
func (f *fakeTB) run(test func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		test()
	}()
	<-done
}

// Without the binary a test skips with the package to install; where engines are
// required it fails with the same words; any other setting is refused.
func TestAbsentBinaries(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, pkg := range map[string]string{
		"redis": "redis-server", "postgres": "postgresql", "rabbitmq": "rabbitmq-server",
	} {
		outcome := func(value string) string {
			t.Setenv("KEELSON_ENGINES", value)
			f := &fakeTB{}
			f.run(func() { engine.ServeWithout(f, name) })
			assert.Equal(t, 0, len(f.cleanups))
			return f.ended
		}
		how, why, _ := strings.Cut(outcome(""), ": ")
		assert.Equal(t, "skip", how)
		assert.Contains(t, why, "install the package "+pkg+" ")
		assert.Equal(t, "fatal: "+why, outcome("required"))
		assert.Contains(t, outcome("yes"), `fatal: engine: KEELSON_ENGINES is "yes"`)
		assert.Contains(t, outcome("yes"), `"required"`)
	}
}

// A server that ends while it starts is reported with what it wrote, at once and
// not when the time is up, and leaves neither process nor directory.
func TestStartFailureShowsTheLog(t *testing.T) {
	engine.Redis(t) // skips when absent
	t.Setenv("TMPDIR", t.TempDir())
	_, err := engine.StartBroken(t.Context())
	require.Error(t, err)
	assert.Contains(t, err.Error(), "ended before it was ready: exit status 1")
	assert.Contains(t, err.Error(), "no-such-setting")
	checkEmpty(t, os.Getenv("TMPDIR"))
}

// A server that runs but does not answer in its protocol is not ready, and says
// what it answered.
func TestReadinessIsTheProtocol(t *testing.T) {
	engine.Redis(t) // skips when absent
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := engine.StartDeaf(ctx, cancel)
	require.Error(t, err)
	assert.ErrorIs(t, err, ctx.Err())
	assert.Contains(t, err.Error(), "redis is not ready")
	assert.Contains(t, err.Error(), "Ready to accept connections", "the log")
	checkEmpty(t, os.Getenv("TMPDIR"))
}

// Root cannot give another user a directory below one that only root enters;
// the message says which.
func TestDirectoryOutOfReach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root changes the user")
	}
	closed := t.TempDir()
	require.NoError(t, os.Chmod(closed, 0o700))
	_, err := engine.StartPostgres(t.Context(), filepath.Join(closed, "cluster"))
	if missing, ok := errors.AsType[*engine.NotInstalledError](err); ok {
		skipMissing(t, missing.Error())
	}
	require.Error(t, err)
	assert.Contains(t, err.Error(), "cannot enter "+closed)
}

// What goes wrong when the test cleans up is an error of the test.
func TestCleanupClosesTheServer(t *testing.T) {
	f := &fakeTB{}
	var server *engine.Server
	f.run(func() { server = engine.Redis(f) })
	if how, why, _ := strings.Cut(f.ended, ": "); how == "skip" {
		skipMissing(t, why)
	}
	require.Equal(t, "", f.ended)
	family := familyOf(t, server)
	for _, fn := range f.cleanups {
		fn()
	}
	assert.Equal(t, 0, len(statesOf(t, family)))
	assert.Equal(t, 0, len(f.errors))
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Equal(t, 0, len(left), "left in the temporary directory: %v", left)
}
