//go:build unix

package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// orphanage makes this test binary a program that starts a server and is then
// killed. Its value is a JSON order.
const orphanage = "KEELSON_ENGINE_TEST_ORPHAN"

type order struct {
	Engine string
	Pause  bool
}

type orphan struct {
	Missing string // why there is no server
	Dir     string
	Pids    []int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(orphanage); text != "" {
		if err := raiseOrphan(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// raiseOrphan starts a server with a session on it, says where it is and waits
// to be killed.
func raiseOrphan(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	e := engines[o.Engine]
	server, err := e.raw(context.Background(), "")
	if missing, ok := errors.AsType[*engine.NotInstalledError](err); ok {
		return json.NewEncoder(os.Stdout).Encode(orphan{Missing: missing.Error()})
	}
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp4", server.Addr())
	if err != nil {
		return err
	}
	if _, err := e.open(conn); err != nil {
		return err
	}
	family, err := engine.Family(server)
	if err != nil {
		return err
	}
	if o.Pause {
		if err := server.Pause(); err != nil {
			return err
		}
	}
	out := orphan{Dir: server.Dir()}
	for _, p := range family {
		out.Pids = append(out.Pids, p.Pid())
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the test that ordered this is gone
	return err
}

// The servers of a program that was killed die with it, stopped ones too.
func TestServersDieWithTheProgram(t *testing.T) {
	for name := range engines {
		for _, pause := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s paused %v", name, pause), func(t *testing.T) {
				t.Parallel()
				program, family := orderOrphan(t, order{Engine: name, Pause: pause})
				// Helpers of Postgres come and go; the server and its guard stay.
				assert.True(t, len(statesOf(t, family)) >= 2, "of %v, these run before: %v", family, statesOf(t, family))
				require.NoError(t, program.Process.Kill())
				assert.NoError(t, engine.AwaitGone(family))
			})
		}
	}
}

func orderOrphan(t *testing.T, o order) (*exec.Cmd, []engine.Process) {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), orphanage+"="+string(text))
	program.Stderr = os.Stderr
	stdin, err := program.StdinPipe()
	require.NoError(t, err)
	stdout, err := program.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, program.Start())
	t.Cleanup(func() {
		stdin.Close()
		_ = program.Wait() // it was killed
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var out orphan
	require.NoError(t, json.Unmarshal(line, &out))
	if out.Missing != "" {
		skipMissing(t, out.Missing)
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(out.Dir)) })

	all, err := engine.Processes()
	require.NoError(t, err)
	return program, slices.DeleteFunc(all, func(p engine.Process) bool { return !slices.Contains(out.Pids, p.Pid()) })
}

// statesOf looks the processes up again and returns those that still exist.
func statesOf(t *testing.T, family []engine.Process) []engine.Process {
	t.Helper()
	all, err := engine.Processes()
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(p engine.Process) bool {
		return p.State() == 'Z' || !slices.ContainsFunc(family, func(q engine.Process) bool { return p.Same(q) })
	})
}

// startOrSkip starts a server by the lower layer and closes it at the end.
func startOrSkip(t *testing.T, start func(context.Context, string) (*engine.Server, error), dir string) *engine.Server {
	t.Helper()
	server, err := start(t.Context(), dir)
	if missing, ok := errors.AsType[*engine.NotInstalledError](err); ok {
		skipMissing(t, missing.Error())
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}

// skipMissing is what the upper layer does without a binary.
func skipMissing(t *testing.T, reason string) {
	t.Helper()
	require.Equal(t, "", os.Getenv("KEELSON_ENGINES"), reason)
	t.Skip(reason)
}
