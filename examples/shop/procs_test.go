package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// state is what the tests look at of /state.
type state struct {
	Services map[string]struct {
		State, Addr string
		PID         int
	}
}

func look(t *testing.T, page string) (s state) {
	t.Helper()
	_, body := get(t, page+"/state")
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	return s
}

// eventually waits for what another process does in its own time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(giveUp) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// alive reports whether a process runs. One that has ended and that nobody has asked
// about, a zombie, does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err == nil && strings.Contains(string(stat), ") Z ") {
		return false
	}
	return syscall.Kill(pid, 0) == nil
}

// A process for each service: killed it is dead, and back when it is started, with
// all that it had.
func TestServicesAreProcessesThatCanBeKilled(t *testing.T) {
	data := t.TempDir()
	p := launch(t, []string{"SHOP_FREE_PORTS=1"}, append(patient, "-procs", "-addr", "127.0.0.1:0", "-data", data)...)
	page := p.url(t, "page")
	gateway := strings.TrimSuffix(p.url(t, "gateway"), "/api/users")
	seen := map[int]string{}
	var inventory int
	eventually(t, "all run", func() bool {
		for name, s := range look(t, page).Services {
			if s.PID == 0 {
				return false
			}
			seen[s.PID] = name
			if name == "inventory" {
				inventory = s.PID
			}
		}
		return inventory != 0
	})
	assert.True(t, len(seen) >= 10, "%v", seen) // broker and cache share that of control
	assert.Equal(t, p.Process.Pid, pidOf(look(t, page), "broker"))

	for pid := range seen { // T19: what ps shows
		args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil { // where there is such a file
			assert.False(t, strings.Contains(strings.ToLower(string(args)), "secret") || strings.Contains(string(args), "{"), "%q", args)
		}
	}
	for pid, name := range seen { // T19: Ctrl-C reaches them all, and they leave it to the parent
		if pid != p.Process.Pid {
			require.NoError(t, syscall.Kill(pid, syscall.SIGINT), "%s", name)
		}
	}
	status, body := do(t, http.MethodPost, page+"/control/services/inventory/kill", "")
	require.Equal(t, http.StatusOK, status, body)
	assert.False(t, alive(inventory))
	assert.Equal(t, 0, pidOf(look(t, page), "inventory"))
	status, body = do(t, http.MethodPost, page+"/control/services/inventory/start", "")
	require.Equal(t, http.StatusOK, status, body)
	assert.NotEqual(t, inventory, pidOf(look(t, page), "inventory"))
	for pid, name := range seen {
		assert.True(t, pid == inventory || alive(pid), "%s has stopped by itself", name)
	}
	status, _ = get(t, gateway+"/api/products/P-1")
	assert.Equal(t, http.StatusOK, status)

	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	<-p.ended
	assert.Equal(t, 0, p.ProcessState.ExitCode())
	for pid, name := range seen {
		assert.False(t, alive(pid), "%s is left behind", name)
	}
}

func pidOf(s state, service string) int { return s.Services[service].PID }

// T19: children of a parent that was killed end by themselves.
func TestNoChildOutlivesAKilledParent(t *testing.T) {
	p := launch(t, []string{"SHOP_FREE_PORTS=1"}, append(patient, "-procs", "-addr", "127.0.0.1:0", "-data", t.TempDir())...)
	services := look(t, p.url(t, "page")).Services
	require.NoError(t, p.Process.Kill())
	eventually(t, "all are gone", func() bool {
		for _, s := range services {
			if s.PID != p.Process.Pid && s.PID != 0 && alive(s.PID) {
				return false
			}
		}
		return true
	})
}
