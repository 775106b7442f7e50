package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// PATH wins over the distribution's directories, and of those the newest version.
func TestFindPrefersPathThenTheNewestVersion(t *testing.T) {
	root := t.TempDir()
	place := func(dir string) string {
		path := filepath.Join(root, dir, "server")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700))
		return path
	}
	server := program{name: "server", pkg: "some-server", alsoIn: []string{filepath.Join(root, "lib/*/bin")}}
	find := func() string {
		path, err := server.find()
		require.NoError(t, err)
		return path
	}

	t.Setenv("PATH", filepath.Join(root, "path"))
	_, err := server.find()
	assert.Equal(t, error(&NotInstalledError{Binary: "server", Package: "some-server"}), err)
	place("lib/9.6/bin")
	fifteen := place("lib/15/bin")
	place("lib/10/bin")
	assert.Equal(t, fifteen, find())
	onPath := place("path")
	assert.Equal(t, onPath, find())
}

// A malformed pattern would make find miss a binary without a word.
func TestPatternsAreWellFormed(t *testing.T) {
	for _, r := range []recipe{redis, postgres, rabbitmq} {
		for _, p := range r.programs {
			for _, pattern := range p.alsoIn {
				_, err := filepath.Match(pattern, "")
				assert.NoError(t, err, "%s: %s", p.name, pattern)
			}
		}
	}
}

// The variables of the machine, of which these servers read dozens, stay out.
func TestCommandsGetACleanEnvironment(t *testing.T) {
	t.Setenv("RABBITMQ_USE_LONGNAME", "true")
	t.Setenv("PGDATA", "/elsewhere")
	s := &site{dir: "/somewhere", paths: map[string]string{"server": "/bin/server"}}
	assert.Equal(t,
		[]string{"PATH=" + os.Getenv("PATH"), "HOME=/somewhere", "TMPDIR=/somewhere", "LANG=C.UTF-8"},
		s.command("server").Env)
}
