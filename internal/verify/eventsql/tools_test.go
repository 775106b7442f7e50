package eventsql

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
)

// tool finds a program of Postgres, which Debian keeps off PATH.
func tool(t *testing.T, name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	require.NoError(t, err)
	require.NotEmpty(t, found, "the server is installed and its tool is not")
	return found[len(found)-1]
}

func runTool(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	return out.Bytes()
}

// copyDatabase dumps the server's database and restores it into a fresh one.
func copyDatabase(t *testing.T, server *engine.Server, name string) string {
	t.Helper()
	u, err := url.Parse(server.URL())
	require.NoError(t, err)
	dump := runTool(t, nil, "pg_dump", u.String())
	runTool(t, []byte("CREATE DATABASE "+name), "psql", "-v", "ON_ERROR_STOP=1", u.String())
	u.Path = "/" + name
	runTool(t, dump, "psql", "-q", "-v", "ON_ERROR_STOP=1", u.String())
	return u.String()
}

// sibling is the URL of another database of the server.
func sibling(t *testing.T, server *engine.Server, name string) string {
	t.Helper()
	u, err := url.Parse(server.URL())
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// standbyDir is a directory for a server, which may run as another user.
func standbyDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "keelson-standby-") //nolint:usetesting // below T.TempDir others may not enter
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
