package engine

import (
	"os"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// The name of a process may contain anything, the end of the name included.
func TestParseStat(t *testing.T) {
	const rest = " S 17 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9"
	for name, line := range map[string]string{
		"plain":       "23 (redis-server)" + rest,
		"space":       "23 (a b)" + rest,
		"parentheses": "23 (x) T 1 (y))" + rest,
	} {
		p, err := parseStat(line)
		require.NoError(t, err, name)
		assert.Equal(t, process{pid: 23, parent: 17, state: 'S', born: "4242"}, p, name)
	}
	for _, line := range []string{"", "23", "23 (x)", "23 (x) S 17", "x (y)" + rest} {
		_, err := parseStat(line)
		assert.Error(t, err, "%q", line)
	}
}

// This process is in the list, with its parent.
func TestProcessesFindsThisOne(t *testing.T) {
	all, err := processes()
	require.NoError(t, err)
	found := 0
	for _, p := range all {
		if p.pid == os.Getpid() {
			assert.Equal(t, os.Getppid(), p.parent)
			found++
		}
	}
	assert.Equal(t, 1, found)
}
