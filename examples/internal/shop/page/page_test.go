package page_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/page"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

const addr = "127.0.0.1:8080"

// serve returns the page of a running shop without load.
func serve(t *testing.T) http.Handler {
	t.Helper()
	preset, err := shop.FindPreset("fast")
	require.NoError(t, err)
	s, err := shop.Start(shop.Config{Engines: shop.Engines{Network: &wire.Pipe{}}, Preset: preset})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return page.Handler(s, addr)
}

func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = addr
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// T18: a foreign page cannot press a button, and a name that somebody points at
// this machine shows nothing.
func TestForeignHostsAndOriginsAreRefused(t *testing.T) {
	h := serve(t)
	const stop = "/control/services/users/stop"
	for _, headers := range [][]string{
		{"Host", "evil.example"},
		{"Host", "evil.example:8080"},
		{"Host", "127.0.0.1:9999"},
		{"Host", "127.0.0.1"},
		{"Origin", "http://evil.example"},
		{"Origin", "null"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
	} {
		assert.Equal(t, http.StatusForbidden, ask(h, "POST", stop, "", headers...).Code, "%v", headers)
	}
	for _, target := range []string{"/", "/state", "/events", "/control/faults"} {
		assert.Equal(t, http.StatusForbidden, ask(h, "GET", target, "", "Host", "evil.example").Code, "%s", target)
	}
	assert.Equal(t, http.StatusOK, ask(h, "POST", stop, "", "Origin", "http://"+addr, "Sec-Fetch-Site", "same-origin").Code)
	assert.Equal(t, http.StatusOK, ask(h, "GET", "/state", "", "Host", "localhost:8080").Code)
}

func TestEveryAnswerForbidsForeignContent(t *testing.T) {
	h := serve(t)
	for _, target := range []string{"/", "/main.js", "/state", "/nothing"} {
		csp := ask(h, "GET", target, "").Header().Get("Content-Security-Policy")
		assert.Contains(t, csp, "default-src 'self'; frame-ancestors 'none'", "%s", target)
	}
}

func TestControlsAnswerWithWhatChangedOrWhatIsAllowed(t *testing.T) {
	h := serve(t)
	for _, c := range []struct {
		method, target, body string
		status               int
		say                  string
	}{
		{"POST", "/control/faults", `{"target":"users","kind":"latency=2s","jitter":"1s","path":"/users"}`, 200, `"fault":"latency=2s jitter=1s path=/users"`},
		{"GET", "/control/faults", "", 200, `"id":"users-latency-1"`},
		{"DELETE", "/control/faults/users-latency-1", "", 200, `"cleared":"users-latency-1"`},
		{"DELETE", "/control/faults/users-latency-1", "", 422, "no fault"},
		{"DELETE", "/control/faults", "", 200, `"cleared":"all"`},
		{"POST", "/control/faults", `{"target":"users","kind":"flood"}`, 422, "blackhole"},
		{"POST", "/control/faults", `{"target":"nobody","kind":"blackhole"}`, 422, "gateway, orders, users"},
		{"POST", "/control/faults", `{"target":"users","sort":"blackhole"}`, 422, `"fields":["sort"]`},
		{"POST", "/control/services/users/stop", "", 200, `"done":"stop"`},
		{"POST", "/control/services/users/start", "", 200, `"done":"start"`},
		{"POST", "/control/services/users/restart", "", 200, `"done":"restart"`},
		{"POST", "/control/services/users/explode", "", 422, "kill, stop, start, restart"},
		{"POST", "/control/services/nobody/stop", "", 422, "gateway, orders, users"},
		{"POST", "/control/load", `{"rps":20}`, 200, `"rps":20`},
		{"POST", "/control/load", `{"rps":-1}`, 422, "0 to 2000"},
		{"POST", "/control/load", `{}`, 422, "0 to 2000"},
		{"POST", "/control/load", `{"mix":{"browse":1}}`, 200, `"mix":{"browse":1}`},
		{"POST", "/control/load", `{"mix":{"steal":1}}`, 422, "browse, order, view, signup"},
		{"POST", "/control/load", `{"mix":{}}`, 422, "add up to 0"},
		{"POST", "/control/switches/l1", `{"value":"off"}`, 200, `"value":"off"`},
		{"POST", "/control/switches/l1", `{"value":"perhaps"}`, 422, "on or off"},
		{"POST", "/control/switches/rain", `{"value":"on"}`, 422, "breakers, retries"},
		{"POST", "/control/scale", `{"service":"products","n":9}`, 422, "1 to 5"},
		{"POST", "/control/shards", `{"n":5}`, 422, "yet"},
		{"GET", "/control/shards?n=4", "", 422, "there are 4 shards"},
		{"GET", "/control/shards?n=five", "", 422, `"fields":["n"]`},
		{"GET", "/control/shards", "", 200, `"to":5`},
		{"POST", "/control/send", `{"body":"x"}`, 422, "topic"},
		{"POST", "/control/send", `{"topic":"email-queue","body":"no JSON"}`, 200, `"sent":"email-queue"`},
		{"GET", "/look/dead", "", 200, "[]"},
		{"POST", "/control/dead/replay", "", 200, `"replayed":0`},
		{"POST", "/control/projections/orders%2Forders/rebuild", "", 200, `"equal":true`},
		{"POST", "/control/projections/orders%2Fnothing/rebuild", "", 404, "there are: orders"},
		{"POST", "/control/breakers/orders%2Fusers/explode", "", 422, "trip, reset, hold, release"},
		{"POST", "/control/breakers/orders/trip", "", 422, "CALLER/CALLEE"},
		{"POST", "/control/cache/explode", "", 422, "invalidate, stampede"},
		{"POST", "/control/projections/orders/rebuild", "", 422, "SERVICE/PROJECTION"},
		{"GET", "/look/log/nobody", "", 422, "cannot be asked"},
		{"GET", "/metrics", "", 200, `keelson_shop_load_sent{operation="browse"} `},
		{"GET", "/control/scenarios", "", 200, "users-blackhole"},
		{"POST", "/control/scenarios/earthquake", "", 422, "there are: baseline, "},
		{"POST", "/control/scenarios/..%2Fsecret.txt", "", 422, "there are: baseline, "},
		{"POST", "/control/scenarios/users-blackhole", "", 200, `"started":"users-blackhole"`},
		{"POST", "/control/scenarios/baseline", "", 422, "a scenario is running"},
		{"DELETE", "/control/scenarios/baseline", "", 422, "is not running"},
		{"DELETE", "/control/scenarios/users-blackhole", "", 200, `"stopped":"users-blackhole"`},
		{"GET", "/state", "", 200, `"preset":"fast"`},
	} {
		w := ask(h, c.method, c.target, c.body)
		assert.Equal(t, c.status, w.Code, "%s %s: %s", c.method, c.target, w.Body)
		assert.Contains(t, w.Body.String(), c.say, "%s %s", c.method, c.target)
	}
}

// files are those of the page, by path below static.
func files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS("static"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path.Join("static", name))
		out[name] = string(b)
		return err
	})
	require.NoError(t, err)
	return out
}

// T21: a file that embed leaves out would be missing from the page alone.
func TestEveryFileOfThePageIsServed(t *testing.T) {
	h := serve(t)
	for name, text := range files(t) {
		if name == "index.html" {
			name = ""
		}
		w := ask(h, "GET", "/"+name, "")
		assert.Equal(t, http.StatusOK, w.Code, "%s", name)
		assert.Equal(t, text, w.Body.String(), "%s", name)
	}
}

// T18: what the shop says enters the page as text. The only way to be sure is
// that the page has no other way.
func TestThePageMakesNoHTMLOfText(t *testing.T) {
	for name, text := range files(t) {
		if path.Ext(name) != ".js" || strings.HasPrefix(name, "uplot/") {
			continue
		}
		for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://"} {
			assert.False(t, strings.Contains(text, word), "%s has %s", name, word)
		}
	}
}

// Every panel leads to its small example and to the code that makes it happen, and no
// link is dead.
func TestPanelsLinkToWhatExists(t *testing.T) {
	const repo = "https://github.com/keelson-go/keelson/"
	links := regexp.MustCompile(`<a class="more" href="([^"]*)">`).FindAllStringSubmatch(files(t)["index.html"], -1)
	assert.True(t, len(links) >= 15, "%d links", len(links))
	for _, m := range links {
		name, ok := strings.CutPrefix(m[1], repo)
		require.True(t, ok, "%s leads elsewhere", m[1])
		_, name, _ = strings.Cut(name, "/main/")
		_, err := os.Stat(path.Join("..", "..", "..", "..", name))
		assert.NoError(t, err, "%s", m[1])
	}
}

func TestThePageIsSmall(t *testing.T) {
	var packed bytes.Buffer
	lines := 0
	for name, text := range files(t) {
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression) // files are packed once
		require.NoError(t, err)
		_, err = z.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, z.Close())
		if path.Ext(name) == ".js" && !strings.HasPrefix(name, "uplot/") {
			n := strings.Count(text, "\n")
			lines += n
			assert.True(t, n <= 400, "%s has %d lines", name, n)
		}
	}
	assert.True(t, packed.Len() <= 60_000, "%d bytes gzipped", packed.Len())
	assert.True(t, lines <= 1500, "%d lines of JavaScript", lines)
	t.Logf("%d bytes gzipped, %d lines of JavaScript", packed.Len(), lines)
}

// uPlot 1.6.32 is kept as the registry has it, with its licence beside it.
func TestUPlotIsTheOneThatWasVendored(t *testing.T) {
	all := files(t)
	for name, want := range map[string]string{
		"uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"uplot/uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"uplot/LICENSE":           "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	} {
		sum := sha256.Sum256([]byte(all[name]))
		assert.Equal(t, want, hex.EncodeToString(sum[:]), "%s", name)
	}
	assert.Contains(t, all["uplot/LICENSE"], "The MIT License")
}
