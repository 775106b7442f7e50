package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/users"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// The tests run this very test binary as the shop, so that what is killed is a
// real process with the race detector in it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_SHOP") != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is a running shop.
type process struct {
	*exec.Cmd
	lines chan string   // of its output
	ended chan struct{} // once it is gone
}

func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0], args...), lines: make(chan string, 100), ended: make(chan struct{})}
	p.Env = append(append(os.Environ(), "RUN_AS_SHOP=1"), env...)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	go func() {
		defer close(p.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		_ = p.Wait() // tests look at ProcessState
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // gone already, usually
		<-p.ended
	})
	return p
}

// url is the address on the line that begins with the given word.
func (p *process) url(t *testing.T, word string) string {
	t.Helper()
	for {
		select {
		case line := <-p.lines:
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == word {
				return strings.TrimSuffix(fields[1], "/")
			}
		case <-p.ended:
			t.Fatal("ended before it said where it is")
		case <-time.After(20 * time.Second):
			t.Fatal("does not say where it is")
		}
	}
}

// secret is what somebody signs in with, as it is printed at the start.
func (p *process) secret(t *testing.T, name string) string {
	t.Helper()
	for {
		select {
		case line := <-p.lines:
			if _, rest, ok := strings.Cut(line, `"secret":"`); ok && strings.Contains(line, " "+name+",") {
				return strings.TrimSuffix(rest, `"}`)
			}
		case <-p.ended:
			t.Fatal("ended before it said how to sign in")
		case <-time.After(20 * time.Second):
			t.Fatal("does not say how to sign in")
		}
	}
}

// patient makes a shop whose time limits hold on a machine that is busy with
// other tests; nothing is sent but what the test itself sends.
var patient = []string{"-preset", "classic", "-rps", "0"}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return do(t, http.MethodGet, url, "")
}

func do(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// The stop is not asked for in a quiet moment: a page listens to the stream, the
// load runs, and users holds requests in a black hole.
func TestCtrlCEndsTheShopWithinSeconds(t *testing.T) {
	p := launch(t, nil, "-addr", "127.0.0.1:0")
	page := p.url(t, "page")
	stream, err := http.Get(page + "/events") //nolint:noctx // ends with the shop, which is the point
	require.NoError(t, err)
	defer stream.Body.Close()
	status, body := do(t, http.MethodPost, page+"/control/faults", `{"target":"users","kind":"blackhole"}`)
	require.Equal(t, http.StatusOK, status, body)
	_, err = io.ReadFull(stream.Body, make([]byte, 1000))
	require.NoError(t, err)

	begin := time.Now()
	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	<-p.ended
	took := time.Since(begin)
	t.Logf("took %v", took)
	assert.True(t, took < 5*time.Second, "took %v; 1.3 s at most where nothing else runs", took)
	assert.Equal(t, 0, p.ProcessState.ExitCode())
}

// T20: port 8080, and every service's own, is taken on the first run.
func TestBusyDefaultPortsDoNotFailTheFirstRun(t *testing.T) {
	for _, port := range []int{8080, 8000, 8500, 3000, 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008} {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil { // otherwise something else has it, which is as good
			defer ln.Close()
		}
	}
	p := launch(t, nil, patient...)
	page := p.url(t, "page")
	assert.NotEqual(t, "http://127.0.0.1:8080", page)
	status, body := get(t, page)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "<title>Keelson shop</title>")
	status, body = get(t, p.url(t, "gateway"))
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "Alice")
}

// Three processes that know of each other by address alone are a shop as well, as
// far as three services go: an order is taken, and waits for the rest.
func TestServicesRunAlone(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	env := []string{"PORT=0", "SHOP_KEY=" + hex.EncodeToString(key)}
	for _, absent := range []string{"PRODUCTS", "PAYMENTS", "BROKER", "CACHE"} { // nothing that listens by chance
		env = append(env, absent+"_URL=http://127.0.0.1:1")
	}
	usersService := launch(t, env, append(patient, "-service", "users")...)
	env = append(env, "USERS_URL="+usersService.url(t, "users"))
	orders := launch(t, env, append(patient, "-service", "orders")...)
	env = append(env, "ORDERS_URL="+orders.url(t, "orders"))
	gateway := launch(t, env, append(patient, "-service", "gateway")...)
	url := gateway.url(t, "gateway")

	status, body := do(t, http.MethodPost, url+"/api/sessions", fmt.Sprintf(`{"userId":2,"secret":%q}`, users.FirstSecret(key, 2)))
	require.Equal(t, http.StatusCreated, status, body)
	var session struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(body), &session))
	order := func(user int) (int, string) {
		return do(t, http.MethodPost, url+"/api/orders", fmt.Sprintf(`{"userId":%d}`, user), "Authorization", "Bearer "+session.Token)
	}
	status, body = order(1)
	assert.Equal(t, http.StatusCreated, status, body)
	assert.Contains(t, body, `"status":"pending"`)
	status, body = order(99)
	assert.Equal(t, http.StatusNotFound, status)
	assert.Contains(t, body, "User not found")

	require.NoError(t, usersService.Process.Kill())
	<-usersService.ended
	status, body = order(1)
	assert.Equal(t, http.StatusServiceUnavailable, status, body)

	require.NoError(t, orders.Process.Signal(syscall.SIGTERM))
	<-orders.ended
	assert.Equal(t, 0, orders.ProcessState.ExitCode())
}

func TestNoGoroutineIsLeftAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &lineWriter{lines: make(chan string, 10)}
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"-addr", "127.0.0.1:0", "-rps", "200"}, out, out) }()
	for line := range out.lines {
		if gateway, ok := strings.CutPrefix(line, "gateway"); ok {
			_, _ = get(t, strings.TrimSpace(gateway)) // whatever the answer is, the shop is at work
			break
		}
	}
	cancel()
	assert.Equal(t, 0, <-code)
	http.DefaultClient.CloseIdleConnections()
	// net/http lets go of a closed connection's goroutines without waiting for
	// them; they end as soon as they have run once more.
	for giveUp := time.Now().Add(5 * time.Second); len(leftovers()) > 0; runtime.Gosched() {
		if time.Now().After(giveUp) {
			t.Fatalf("left behind:\n%s", strings.Join(leftovers(), "\n\n"))
		}
	}
}

// leftovers are the stacks of goroutines that belong to a shop or to one of its
// connections. Counting all goroutines would let those of an earlier test that
// are about to end stand for one that stays.
func leftovers() (found []string) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "/examples/internal/shop") || strings.Contains(stack, "net/http.(*") {
			found = append(found, stack)
		}
	}
	return found
}

func TestExitCodes(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // where the stores of a failed check are kept
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	script := func(text string) string {
		file := filepath.Join(t.TempDir(), "script.txt")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	for _, c := range []struct {
		name string
		args []string
		want int
		say  string
	}{
		{"expectation holds", []string{"-check", "-scenario", script("load 20\nexpect load.order.broken = 0 during 0s..300ms")}, 0, "10 of 10 checks hold"},
		{"as JSON", []string{"-check", "-json", "-scenario", script("expect load.order.broken = 0 during 0s..300ms")}, 0, `"ok": true`},
		{"expectation fails", []string{"-check", "-scenario", script("expect breakers.orders/users.state = open within 300ms of 0s")}, exitFailed, "FAIL"},
		{"path leads nowhere", []string{"-check", "-scenario", script("expect breakers.nobody.state != open during 0s..300ms")}, exitFailed, "nothing at this path"},
		{"step of an unknown service", []string{"-check", "-scenario", script("at 0s stop nobody\nexpect faults = 0")}, exitUsage, `line 1: no service "nobody"`},
		{"check that cannot fail", []string{"-check", "-scenario", script("load 20")}, exitUsage, "expects nothing"},
		{"one service has no scenario", []string{"-service", "users", "-scenario", "baseline"}, exitUsage, "go without it"},
		{"page beyond loopback", []string{"-addr", "0.0.0.0:8080"}, exitUsage, "loopback"},
		{"page at a name", []string{"-addr", "localhost:8080"}, exitUsage, "loopback"},
		{"check of nothing", []string{"-check"}, exitUsage, "-scenario"},
		{"unknown scenario", []string{"-scenario", "earthquake"}, exitUsage, "users-blackhole"},
		{"too short", []string{"-check", "-scenario", "users-blackhole", "-for", "3s"}, exitUsage, "needs 16s"},
		{"unknown preset", []string{"-preset", "slow"}, exitUsage, "fast, classic"},
		{"unknown sabotage", []string{"-sabotage", "rain"}, exitUsage, "no-breaker"},
		{"unknown service", []string{"-service", "bank"}, exitUsage, "gateway, orders, users"},
		{"unknown flag", []string{"-fast"}, exitUsage, "flag"},
		{"rest of line", []string{"users"}, exitUsage, "unexpected"},
		{"page's port is taken", []string{"-addr", busy.Addr().String()}, exitStart, "in use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, c.want, run(t.Context(), c.args, &out, &out), "%s", &out)
			assert.Contains(t, out.String(), c.say)
		})
	}
}

// lineWriter hands what is written to it to another goroutine, by the line.
type lineWriter struct {
	lines chan string
	rest  string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest += string(p)
	for {
		line, rest, ok := strings.Cut(w.rest, "\n")
		if !ok {
			return len(p), nil
		}
		w.lines <- line
		w.rest = rest
	}
}
