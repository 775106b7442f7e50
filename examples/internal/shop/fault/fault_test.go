package fault_test

import (
	"io"
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
		"reset=10%", "drop=100% path=/reservations calls=2-3", "refuse=5%", "down", "crash=effect calls=1-1", "crash=before", "crash=answer",
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
		"drop":                   "percentage",
		"reset=200%":             "percentage",
		"down=50%":               "no value",
		"crash":                  "before, effect or answer",
		"crash=later":            "before, effect or answer",
		"error=5% calls=3":       "such as 1-10",
		"error=5% calls=0-3":     "such as 1-10",
		"error=5% calls=3-2":     "such as 1-10",
		"error=5% calls=a-b":     "such as 1-10",
		"duplicate=3":            "target broker",
		"reorder=20":             "target broker",
		"duplicate=1":            "2 to 100",
		"reorder=many":           "2 to 100",
	} {
		_, err := fault.Parse("users", strings.Fields(text))
		require.Error(t, err, "%q", text)
		assert.Contains(t, err.Error(), say, "%q", text)
	}
}

// hits reports which of n requests an error rule hits.
func hits(s *fault.Set, n int) (out []bool) {
	for range n {
		injected, cut := apply(s, "/users")
		out = append(out, injected != nil && !cut)
	}
	return out
}

// apply sends one request through the set; cut tells that there was no answer.
func apply(s *fault.Set, path string) (injected *fault.Injected, cut bool) {
	return send(s, httptest.NewRequest(http.MethodGet, path, nil), func() {})
}

func send(s *fault.Set, r *http.Request, handler func()) (injected *fault.Injected, cut bool) {
	defer func() { cut = recover() != nil }()
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { handler() })
	s.Serve(httptest.NewRecorder(), r, next, func(_ http.ResponseWriter, _ *http.Request, i fault.Injected) { injected = &i })
	return injected, false
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
			injected, cut := apply(s, "/users")
			took := time.Since(begin)
			assert.True(t, injected == nil && !cut && took >= 100*time.Millisecond && took < 150*time.Millisecond, "took %v", took)
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
		defer func() { left <- struct{}{} }()
		s.Serve(w, r, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a black hole has answered") }), nil)
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
	injected, cut := apply(s, "/users")
	assert.True(t, injected == nil && !cut, "a closed set has no rules")
}

// T29: orders that overtake each other on the way do not bring back a fault.
func TestLateOrdersAreNotObeyed(t *testing.T) {
	s := fault.NewSet(1)
	rule := parse(t, "error=100%")
	s.Obey(fault.Orders{Version: 2, Rules: nil})
	s.Obey(fault.Orders{Version: 1, Rules: []fault.Rule{rule}})
	hit, _ := apply(s, "/")
	assert.True(t, hit == nil)
	s.Obey(fault.Orders{Version: 3, Rules: []fault.Rule{rule}})
	hit, _ = apply(s, "/")
	assert.True(t, hit != nil)
}

// obeying returns a set with one rule.
func obeying(t *testing.T, text string) *fault.Set {
	t.Helper()
	s := fault.NewSet(1)
	s.Replace([]fault.Rule{parse(t, text)})
	return s
}

// What each kind does with the handler and with the answer.
func TestEffectAndAnswerOfEachKind(t *testing.T) {
	for text, want := range map[string]struct {
		effect, cut bool
		status      int
	}{
		"error=100% status=503": {false, false, 503},
		"refuse=100%":           {false, false, 422},
		"reset=100%":            {false, true, 0},
		"down":                  {false, true, 0},
		"drop=100%":             {true, true, 0},
		"latency=1us":           {true, false, 0},
		"error=100% calls=2-3":  {true, false, 0},
		"error=100% path=/else": {true, false, 0},
	} {
		effect := false
		injected, cut := send(obeying(t, text), httptest.NewRequest(http.MethodPost, "/users", nil), func() { effect = true })
		assert.Equal(t, want.effect, effect, "%s: has the handler run", text)
		assert.Equal(t, want.cut, cut, "%s: is the connection cut", text)
		assert.Equal(t, want.status != 0, injected != nil, "%s", text)
		if injected != nil {
			assert.Equal(t, want.status, injected.Status, "%s", text)
		}
	}
}

func TestACrashHappensAtItsPoint(t *testing.T) {
	for point, want := range map[string]struct{ effect, answered bool }{
		"before": {false, false}, "effect": {true, false}, "answer": {true, true},
	} {
		s := obeying(t, "crash="+point)
		effect, answered := false, false
		w := httptest.NewRecorder()
		s.Kill = func() {
			// To its last byte: an answer that ends in the middle is none.
			answered = w.Flushed && w.Code == http.StatusCreated && w.Header().Get("Content-Length") == "4" && w.Body.String() == "done"
			panic("dead") // what a process cannot do any more, a test need not either
		}
		func() {
			defer func() { assert.Equal(t, any("dead"), recover()) }()
			next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				effect = true
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, "done")
			})
			s.Serve(w, httptest.NewRequest(http.MethodPost, "/", nil), next, nil)
		}()
		assert.Equal(t, want.effect, effect, "%s", point)
		assert.Equal(t, want.answered, answered, "%s", point)
	}
}

// A message has the same points, and each rule counts those of its own.
func TestACrashOfAMessageHappensAtItsPoint(t *testing.T) {
	s := obeying(t, "crash=effect path=/order-events/OrderCreated calls=2-2")
	died := 0
	s.Kill = func() { died++ }
	for i, want := range []int{0, 1, 1} {
		for _, point := range []string{fault.Before, fault.Effect, fault.Answer} {
			s.Crash("/order-events/OrderCreated", point)
			s.Crash("/order-events/OrderConfirmed", point)
		}
		assert.Equal(t, want, died, "message %d", i)
	}
}

func TestCallsAreThoseOfTheRule(t *testing.T) {
	got := hits(obeying(t, "error=100% calls=3-4"), 6)
	assert.Equal(t, []bool{false, false, true, true, false, false}, got)
}

// T25: health checks come by the clock. How many come between two requests must
// not decide which requests are hit.
func TestHealthChecksHaveDrawsOfTheirOwn(t *testing.T) {
	quiet, checked := obeying(t, "error=50%"), obeying(t, "error=50%")
	want := hits(quiet, 100)
	ill := 0
	for i, w := range want {
		for range i % 3 {
			if injected, _ := apply(checked, "/health"); injected != nil {
				ill++
			}
		}
		assert.Equal(t, w, hits(checked, 1)[0], "request %d", i)
	}
	assert.InDelta(t, 50, float64(ill), 20, "a service that is half ill looks half ill")
}

func TestARuleAboutOneCallerLeavesTheOthersAlone(t *testing.T) {
	rule, err := fault.Parse("orders>payments", []string{"error=100%"})
	require.NoError(t, err)
	assert.Equal(t, "payments", rule.Target)
	assert.Equal(t, "orders>payments", rule.Where())
	s := fault.NewSet(1)
	s.Replace([]fault.Rule{rule})
	for caller, want := range map[string]bool{"orders": true, "gateway": false, "": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(fault.HeaderCaller, caller)
		injected, _ := send(s, r, func() {})
		assert.Equal(t, want, injected != nil, "%q", caller)
	}
	for _, target := range []string{">payments", "orders>", ""} {
		_, err := fault.Parse(target, []string{"blackhole"})
		assert.Error(t, err, "%q", target)
	}
}

func TestTheBrokerRepeatsAndReorders(t *testing.T) {
	s := fault.NewSet(1)
	var rules []fault.Rule
	for _, word := range []string{"duplicate=3", "reorder=20"} {
		r, err := fault.Parse(fault.Broker, []string{word, "path=/order-events"})
		require.NoError(t, err)
		r.ID = word
		rules = append(rules, r)
	}
	s.Replace(rules)
	late, most := 0, 0
	for range 100 {
		copies, behind := s.Deliver("order-events")
		assert.Equal(t, 3, copies)
		most = max(most, behind)
		if behind > 0 {
			late++
		}
	}
	assert.True(t, late > 50 && most == 20, "%d late, the last by %d", late, most)
	copies, behind := s.Deliver("email-queue")
	assert.True(t, copies == 1 && behind == 0)
	_, err := fault.Parse(fault.Cache, []string{"crash=before"})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "want down")
}
