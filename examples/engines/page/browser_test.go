// Package page_test looks at the shop's live page with a real browser: a headless
// Chromium presses keys, and what a visitor would see is what is asserted.
package page_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/page"
)

// chromium is the path of the browser. Without one the test is skipped, or fails
// where engines are required, as with the servers that other tests need.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const why = "chromium is not installed: Debian's package is chromium"
	if os.Getenv("KEELSON_ENGINES") == "required" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// served is a running shop with its page.
type served struct {
	*shop.Shop
	url  string
	stop func()
}

// serve starts a shop in memory, with its page on addr.
func serve(t *testing.T, addr string, rps int) *served {
	t.Helper()
	preset, err := shop.FindPreset("fast")
	require.NoError(t, err)
	s, err := shop.Start(shop.Config{Preset: preset, Seed: 1, RPS: rps, FreePorts: true})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	srv := page.Serve(ln, s, slog.New(slog.DiscardHandler))
	var once sync.Once
	out := &served{Shop: s, url: "http://" + ln.Addr().String(), stop: func() {
		once.Do(func() {
			srv.Close()
			s.Close()
		})
	}}
	t.Cleanup(out.stop)
	return out
}

// tab is one page of the browser, and what it has had to complain about.
type tab struct {
	context.Context
	t *testing.T

	mu         sync.Mutex
	complaints []string // of the console, and uncaught errors
	hosts      []string // that were asked for something
}

// patience is how long the browser may take for anything: other tests run on the
// same machine, and a page is a big program.
const patience = 60 * time.Second

// browser is the one that all tests use, each with tabs of its own: to start one takes
// longer than most of them. Tests do not share what pages keep, as each shop has a port
// of its own, and so an origin.
var browser struct {
	sync.Once
	context.Context
	end context.CancelFunc
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if browser.end != nil {
		browser.end()
	}
	os.Exit(code)
}

// browse opens a page in a new tab.
func browse(t *testing.T, address string) *tab {
	t.Helper()
	return open(t, running(t), address)
}

// running is the browser, which the first test starts.
func running(t *testing.T) context.Context {
	t.Helper()
	path := chromium(t)
	browser.Do(func() {
		opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
			chromedp.ExecPath(path), chromedp.WindowSize(1560, 1640), chromedp.WSURLReadTimeout(patience))
		if os.Geteuid() == 0 {
			opts = append(opts, chromedp.NoSandbox) // which root cannot have
		}
		allocator, end := chromedp.NewExecAllocator(context.Background(), opts...)
		browser.end = end
		browser.Context, _ = chromedp.NewContext(allocator) // ends with the allocator
		browser.err = chromedp.Do(browser.Context)          // what starts the browser bounds its life, so it has no time limit
	})
	require.NoError(t, browser.err)
	return browser.Context
}

// open opens an address in a new tab of the browser that parent belongs to.
func open(t *testing.T, parent context.Context, address string) *tab {
	t.Helper()
	tab := visit(t, parent, address)
	// The stream is live as soon as it is open; the page has something to break, and so
	// keys that do something, with the first state that comes through it.
	tab.waitFor(`document.querySelector('#stream[data-state="live"]') !== null && document.getElementById("target").value !== ""`)
	return tab
}

// visit is open for a page that need not have anything to show.
func visit(t *testing.T, parent context.Context, address string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	tab := &tab{Context: ctx, t: t}
	require.NoError(t, chromedp.Do(ctx)) // what opens the tab bounds its life
	require.NoError(t, chromedp.Listen(ctx, tab.listen))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	tab.do(chromedp.Navigate(address))
	return tab
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		for _, a := range e.Args {
			b.complaints = append(b.complaints, "console: "+string(a.Value)+a.Description)
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.complaints = append(b.complaints, "exception: "+text)
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Scheme != "data" {
			b.hosts = append(b.hosts, u.Host)
		}
	}
}

// limited is the tab's context with a time limit.
func (b *tab) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b, patience)
}

// do runs actions; one that takes too long fails the test.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

// waitFor waits until an expression is true in the page.
func (b *tab) waitFor(expression string) {
	b.t.Helper()
	get[bool](b, "true") // a page that is gone says so here, and not after a minute
	ctx, cancel := b.limited()
	defer cancel()
	poll := chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingTimeout(patience), chromedp.WithPollingInterval(20*time.Millisecond))
	_, err := chromedp.Run(ctx, poll)
	require.NoError(b.t, err, "%s", expression)
}

// click clicks on the first element that a selector finds, as soon as it is there.
func (b *tab) click(selector string) { b.once(selector, "click") }

// focus is click for the focus.
func (b *tab) focus(selector string) { b.once(selector, "focus") }

func (b *tab) once(selector, method string) {
	b.t.Helper()
	b.waitFor(fmt.Sprintf("((e) => e && (e.%s(), true))(document.querySelector(%q))", method, selector))
}

// get evaluates an expression in the page.
func get[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, "%s", expression)
	return v
}

// press presses keys, as a visitor does.
func (b *tab) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// clean asserts that the console is empty and nobody but the page's own address was
// asked for anything. Words are for complaints that the test itself has caused.
func (b *tab) clean(address string, words ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		expected := slices.ContainsFunc(words, func(w string) bool { return strings.Contains(c, w) })
		require.True(b.t, expected, "the console says: %s", c)
	}
	for _, host := range b.hosts {
		require.Equal(b.t, strings.TrimPrefix(address, "http://"), host)
	}
	require.NotEmpty(b.t, b.hosts)
}
