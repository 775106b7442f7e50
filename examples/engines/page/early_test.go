package page_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A visitor may be quicker than the first state: until there is one, keys and buttons
// ask for nothing.
func TestBeforeThereIsAStateNothingIsAskedFor(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 0)
	target, err := url.Parse(s.url)
	require.NoError(t, err)
	var mu sync.Mutex
	var asked []string
	ready := make(chan struct{})
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			mu.Lock()
			asked = append(asked, r.Method+" "+r.URL.Path)
			mu.Unlock()
		}
		if r.URL.Path == "/events" {
			select {
			case <-ready:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections) // the stream would hold up the end

	b := visit(t, running(t), front.URL)
	b.waitFor(`document.querySelectorAll("#faults button").length === 6 && document.querySelectorAll("#key-list dt").length > 0`)
	b.press("123456nkscr+-")
	get[bool](b, `([...document.querySelectorAll("#faults button, #kill, #restart, #scale-up, #scale-down, #clear, #own-fault button, #run")].forEach((e) => e.click()), true)`)
	close(ready)
	b.waitFor(`document.getElementById("target").value === "payments"`)
	b.press("3")
	b.waitFor(`document.getElementById("active").children.length === 1`)
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, []string{"POST /control/faults"}, asked)
	b.clean(front.URL)
}
