package fault_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func parse(t *testing.T, text string) fault.Rule {
	t.Helper()
	r, err := fault.Parse("users", strings.Fields(text))
	require.NoError(t, err)
	r.ID = text
	return r
}

func TestParseReadsWhatStringWrites(t *testing.T) {
	for _, text := range []string{
		"latency=2s", "latency=300ms jitter=50ms", "error=50%", "error=12.5% status=503", "blackhole", "blackhole=30%",
		"blackhole path=/users for=6s", "error=100% status=429 path=/users/1 for=1m0s",
	} {
		assert.Equal(t, text, parse(t, text).String())
	}
}

func TestParseSaysWhatIsAllowed(t *testing.T) {
	for text, say := range map[string]string{
		"":                       "latency=d",
		"flood":                  "latency=d",
		"latency":                "positive duration",
		"latency=-2s":            "positive duration",
		"latency=fast":           "positive duration",
		"error":                  "percentage",
		"error=0%":               "percentage",
		"error=101%":             "percentage",
		"error=NaN%":             "percentage",
		"error=50":               "percentage",
		"error=50% status=200":   "500 to 599",
		"error=50% status=404":   "500 to 599",
		"error=50% jitter=1s":    "latency=d",
		"blackhole status=500":   "latency=d",
		"blackhole path=users":   "begins with /",
		"blackhole for=0s":       "positive duration",
		"blackhole latency=2s":   "latency=d",
		"jitter=1s latency=2s":   "latency=d",
		"blackhole for=5s extra": "latency=d",
	} {
		_, err := fault.Parse("users", strings.Fields(text))
		require.Error(t, err, "%q", text)
		assert.Contains(t, err.Error(), say, "%q", text)
	}
}

// hits reports which of n requests an error rule hits.
func hits(s *fault.Set, n int) (out []bool) {
	for range n {
		injected, err := apply(s, "/users")
		out = append(out, injected != nil && err == nil)
	}
	return out
}

func apply(s *fault.Set, path string) (*fault.Injected, error) {
	return s.Apply(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
}

func count(hits []bool) (n int) {
	for _, h := range hits {
		if h {
			n++
		}
	}
	return n
}

// T25: which requests are hit depends on seed, rule and number alone. A second
// rule between them, or another order of goroutines, changes nothing.
func TestTheSameSeedHitsTheSameRequests(t *testing.T) {
	rule := parse(t, "error=50% path=/users")
	alone := fault.NewSet(7)
	alone.Replace([]fault.Rule{rule})
	want := hits(alone, 200)

	crowded := fault.NewSet(7)
	other := parse(t, "error=30% path=/other")
	crowded.Replace([]fault.Rule{other, rule})
	for i, w := range want {
		_, _ = apply(crowded, "/other")
		assert.Equal(t, w, hits(crowded, 1)[0], "request %d", i)
	}
	another := fault.NewSet(8)
	another.Replace([]fault.Rule{rule})
	assert.NotEqual(t, want, hits(another, 200))

	shared := fault.NewSet(7)
	shared.Replace([]fault.Rule{rule})
	var mu sync.Mutex
	var wg sync.WaitGroup
	total := 0
	for range 10 {
		wg.Go(func() {
			n := count(hits(shared, 20))
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	wg.Wait()
	assert.Equal(t, count(want), total)
}

func TestTheShareIsHit(t *testing.T) {
	for _, share := range []string{"10%", "50%", "90%"} {
		s := fault.NewSet(1)
		rule := parse(t, "error="+share)
		s.Replace([]fault.Rule{rule})
		assert.InDelta(t, rule.Share, float64(count(hits(s, 10_000)))/10_000, 0.02)
	}
	s := fault.NewSet(1)
	s.Replace([]fault.Rule{parse(t, "error=100%")})
	assert.Equal(t, 1000, count(hits(s, 1000)))
}

func TestReplaceKeepsTheDrawsOfARuleThatStays(t *testing.T) {
	rule := parse(t, "error=50%")
	a, b := fault.NewSet(3), fault.NewSet(3)
	a.Replace([]fault.Rule{rule})
	b.Replace([]fault.Rule{rule})
	want := hits(a, 100)
	got := hits(b, 50)
	b.Replace([]fault.Rule{parse(t, "blackhole path=/nowhere"), rule})
	assert.Equal(t, want, append(got, hits(b, 50)...))
}

func TestLatencyStaysWithinItsJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fault.NewSet(1)
		s.Replace([]fault.Rule{parse(t, "latency=100ms jitter=50ms")})
		seen := map[time.Duration]bool{}
		for range 100 {
			begin := time.Now()
			injected, err := apply(s, "/users")
			took := time.Since(begin)
			assert.True(t, injected == nil && err == nil && took >= 100*time.Millisecond && took < 150*time.Millisecond, "took %v", took)
			seen[took] = true
		}
		assert.True(t, len(seen) > 50, "only %d different waits", len(seen))
	})
}

// A black hole holds a POST whose body nobody has read until its client leaves,
// and everything until the service ends.
func TestABlackHoleLetsGoWhenTheClientLeavesOrTheServiceEnds(t *testing.T) {
	s := fault.NewSet(1)
	s.Replace([]fault.Rule{parse(t, "blackhole")})
	entered, left := make(chan struct{}, 2), make(chan struct{}, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		_, err := s.Apply(w, r)
		assert.ErrorIs(t, err, fault.ErrCut)
		left <- struct{}{}
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	client := srv.Client()
	client.Timeout = 50 * time.Millisecond
	_, err := client.Post(srv.URL, "text/plain", strings.NewReader(strings.Repeat("x", 5000))) //nolint:bodyclose // there is no answer
	assert.Error(t, err)
	<-entered
	<-left

	client.Timeout = 0
	done := make(chan error)
	go func() {
		_, err := client.Get(srv.URL) //nolint:bodyclose // there is no answer
		done <- err
	}()
	<-entered
	s.Close()
	<-left
	assert.Error(t, <-done)
	injected, err := apply(s, "/users")
	assert.True(t, injected == nil && err == nil, "a closed set has no rules")
}

// T29: orders that overtake each other on the way do not bring back a fault.
func TestLateOrdersAreNotObeyed(t *testing.T) {
	s := fault.NewSet(1)
	rule := parse(t, "error=100%")
	s.Obey(fault.Orders{Version: 2, Rules: nil})
	s.Obey(fault.Orders{Version: 1, Rules: []fault.Rule{rule}})
	hit, err := s.Apply(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	require.NoError(t, err)
	assert.True(t, hit == nil)
	s.Obey(fault.Orders{Version: 3, Rules: []fault.Rule{rule}})
	hit, err = s.Apply(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	require.NoError(t, err)
	assert.True(t, hit != nil)
}
