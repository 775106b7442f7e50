package breakerhttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// gate returns the function that fields of Transport and Middleware want.
func gate(g breaker.Gate) func(*http.Request) breaker.Gate {
	return func(*http.Request) breaker.Gate { return g }
}

// base is a round tripper made of a function.
type base func(*http.Request) (*http.Response, error)

func (f base) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer returns a base that answers with this status and body.
func answer(status int, body io.ReadCloser) base {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}, nil
	}
}

// tracked is a body that counts.
type tracked struct {
	io.Reader
	reads, closes atomic.Int64
}

func newTracked(text string) *tracked { return &tracked{Reader: strings.NewReader(text)} }

func (b *tracked) Read(p []byte) (int, error) {
	b.reads.Add(1)
	return b.Reader.Read(p)
}

func (b *tracked) Close() error {
	b.closes.Add(1)
	return nil
}

// send sends a request and closes the body of its response.
func send(t *testing.T, tr http.RoundTripper, r *http.Request) error {
	t.Helper()
	resp, err := tr.RoundTrip(r)
	if err == nil {
		require.NoError(t, resp.Body.Close())
	}
	return err
}

func request(t *testing.T, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://users.example/", body)
	require.NoError(t, err)
	return r
}

// T29: a refused request's body is closed once, unread, whichever gate
// refused, and the other gate gets its permit back.
func TestRefusedRequestIsNotReadAndClosedOnce(t *testing.T) {
	closed := breaker.New(breaker.Config{})
	closed.Trip(time.Hour, nil)
	full := limit.NewConcurrency(limit.ConcurrencyConfig{})
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	cases := map[string]*breakerhttp.Transport{
		"breaker": {Breaker: gate(closed), Limit: gate(places)},
		"limit":   {Breaker: gate(breaker.New(breaker.Config{})), Limit: gate(full)},
	}
	for name, tr := range cases {
		t.Run(name, func(t *testing.T) {
			tr.Base = base(func(*http.Request) (*http.Response, error) {
				t.Error("sent")
				return nil, io.EOF
			})
			body := newTracked("text")
			resp, err := (&http.Client{Transport: tr}).Do(request(t, body))
			if err == nil {
				resp.Body.Close()
			}
			_, ok := errors.AsType[*breaker.RejectedError](err)
			assert.True(t, ok, "%v", err)
			assert.Equal(t, int64(0), body.reads.Load())
			assert.Equal(t, int64(1), body.closes.Load())
			assert.Equal(t, 0, places.Stats().InFlight)
		})
	}
}

func TestPlaceIsHeldUntilTheBodyEnds(t *testing.T) {
	ways := map[string]func(t *testing.T, b io.ReadCloser){
		"read to its end": func(t *testing.T, b io.ReadCloser) {
			text, err := io.ReadAll(b)
			require.NoError(t, err)
			assert.Equal(t, "text", string(text))
		},
		"closed":       func(t *testing.T, b io.ReadCloser) { require.NoError(t, b.Close()) },
		"closed twice": func(_ *testing.T, b io.ReadCloser) { _, _ = b.Close(), b.Close() },
	}
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
			b := breaker.New(breaker.Config{})
			tr := &breakerhttp.Transport{Base: answer(200, newTracked("text")), Breaker: gate(b), Limit: gate(places)}
			resp, err := tr.RoundTrip(request(t, nil))
			require.NoError(t, err)
			assert.Equal(t, uint64(1), b.Stats().Succeeded, "judged by its headers")
			assert.Equal(t, 1, places.Stats().InFlight)
			end(t, resp.Body)
			assert.Equal(t, 0, places.Stats().InFlight)
			_ = resp.Body.Close()
			assert.Equal(t, 0, places.Stats().InFlight)
		})
	}
}

// T29: the place ends once, however Close and Read race.
func TestPlaceEndsOnceWhenCloseRacesRead(t *testing.T) {
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1000})
	tr := &breakerhttp.Transport{Limit: gate(places)}
	for range 500 {
		tr.Base = answer(200, newTracked(""))
		resp, err := tr.RoundTrip(request(t, nil))
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = resp.Body.Read(make([]byte, 1)) })
		wg.Go(func() { _ = resp.Body.Close() })
		wg.Wait()
		require.Equal(t, 0, places.Stats().InFlight)
	}
}

// T29: a time limit outlives the headers and ends with the body.
func TestTimeLimitLastsUntilTheBodyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent context.Context
		tr := &breakerhttp.Transport{
			Breaker: gate(breaker.New(breaker.Config{Timeout: time.Second})),
			Base: base(func(r *http.Request) (*http.Response, error) {
				sent = r.Context()
				return &http.Response{StatusCode: 200, Body: slow{r.Context()}}, nil
			}),
		}
		resp, err := tr.RoundTrip(request(t, nil))
		require.NoError(t, err)
		assert.NoError(t, sent.Err())
		time.Sleep(time.Second - 1)
		assert.NoError(t, sent.Err())
		_, err = resp.Body.Read(nil)
		assert.ErrorIs(t, err, breaker.ErrTimeout)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, resp.Body.Close())

		resp, err = tr.RoundTrip(request(t, nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.ErrorIs(t, sent.Err(), context.Canceled, "the timer is let go of")
	})
}

// slow is a body that hangs as long as its context allows.
type slow struct{ ctx context.Context } //nolint:containedctx // as net/http's bodies do

func (s slow) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}
func (s slow) Close() error { return nil }

func TestTimeoutOfTheRoundTripMatchesErrTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1, Timeout: time.Minute})
		places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
		tr := &breakerhttp.Transport{
			Breaker: gate(b),
			Limit:   gate(breaker.Chain(places, breaker.New(breaker.Config{Timeout: time.Second}))),
			Base: base(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		}
		start := time.Now()
		err := send(t, tr, request(t, nil))
		assert.Equal(t, time.Second, time.Since(start), "the shorter limit of both gates")
		assert.ErrorIs(t, err, breaker.ErrTimeout)
		assert.Equal(t, breaker.Open, b.State())
		assert.Equal(t, 0, places.Stats().InFlight)
	})
}

func TestResponsesAreJudged(t *testing.T) {
	for status, want := range map[int]uint64{200: 0, 404: 0, 429: 1, 500: 1, 501: 0, 503: 1} {
		b := breaker.New(breaker.Config{})
		tr := &breakerhttp.Transport{Base: answer(status, http.NoBody), Breaker: gate(b)}
		resp, err := tr.RoundTrip(request(t, nil))
		require.NoError(t, err, "the caller gets the response")
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, status, resp.StatusCode)
		assert.Equal(t, want, b.Stats().Failed, "%d", status)
	}
	b := breaker.New(breaker.Config{})
	tr := &breakerhttp.Transport{
		Base: answer(200, http.NoBody), Breaker: gate(b),
		Judge: func(*http.Response) error { return io.ErrUnexpectedEOF },
	}
	assert.NoError(t, send(t, tr, request(t, nil)))
	assert.Equal(t, uint64(1), b.Stats().Failed)
}

func TestRetryAfterHeaderSetsTheOpenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1})
		tr := &breakerhttp.Transport{Breaker: gate(b), Base: base(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"30"}}, Body: http.NoBody}, nil
		})}
		require.NoError(t, send(t, tr, request(t, nil)))
		assert.True(t, b.RetryAfter() >= 30*time.Second && b.RetryAfter() < 33*time.Second)
	})
}

func TestNoBodyEndsThePlaceAtOnce(t *testing.T) {
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	tr := &breakerhttp.Transport{Base: answer(204, http.NoBody), Limit: gate(places)}
	resp, err := tr.RoundTrip(request(t, nil))
	require.NoError(t, err)
	assert.Equal(t, 0, places.Stats().InFlight)
	assert.True(t, resp.Body == http.NoBody)
	require.NoError(t, resp.Body.Close())
}

// duplex is the body of 101 Switching Protocols.
type duplex struct {
	*tracked
	io.Writer
}

func TestSwitchedProtocolStaysWritable(t *testing.T) {
	var out strings.Builder
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	tr := &breakerhttp.Transport{Base: answer(101, duplex{newTracked("in"), &out}), Limit: gate(places)}
	resp, err := tr.RoundTrip(request(t, nil))
	require.NoError(t, err)
	defer resp.Body.Close()
	rw, ok := resp.Body.(io.ReadWriteCloser)
	require.True(t, ok)
	_, err = io.WriteString(rw, "out")
	require.NoError(t, err)
	assert.Equal(t, "out", out.String())
	_, ok = rw.(interface{ CloseWrite() error })
	assert.False(t, ok, "no more than the body can")
	assert.Equal(t, 1, places.Stats().InFlight)
	require.NoError(t, rw.Close())
	assert.Equal(t, 0, places.Stats().InFlight)
}

// halfDuplex can end its way out alone, as the body of net/http's Transport.
type halfDuplex struct{ duplex }

func (h halfDuplex) CloseWrite() error {
	_, err := io.WriteString(h.Writer, "the end")
	return err
}

func TestSwitchedProtocolEndsOneWayAlone(t *testing.T) {
	var out strings.Builder
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	tr := &breakerhttp.Transport{Base: answer(101, halfDuplex{duplex{newTracked("in"), &out}}), Limit: gate(places)}
	resp, err := tr.RoundTrip(request(t, nil))
	require.NoError(t, err)
	require.NoError(t, resp.Body.(interface{ CloseWrite() error }).CloseWrite())
	assert.Equal(t, "the end", out.String())
	assert.Equal(t, 1, places.Stats().InFlight, "the other way is open")
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "in", string(text))
	assert.Equal(t, 0, places.Stats().InFlight)
	require.NoError(t, resp.Body.Close())
}

func TestResponseWithoutABodyEndsThePlace(t *testing.T) {
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	tr := &breakerhttp.Transport{Base: answer(200, nil), Limit: gate(places)}
	resp, err := (&http.Client{Transport: tr}).Get("http://users.example/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, 0, places.Stats().InFlight)
}

// An error whose own methods panic leaves no permit behind either.
func TestErrorThatPanicsLeavesNothingBehind(t *testing.T) {
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	b := breaker.New(breaker.Config{})
	tr := &breakerhttp.Transport{Breaker: gate(b), Limit: gate(places), Base: base(func(*http.Request) (*http.Response, error) {
		return nil, panics{io.EOF}
	})}
	assert.Equal(t, "Is", assert.Panics(t, func() { _ = send(t, tr, request(t, nil)) }))
	assert.Equal(t, 0, places.Stats().InFlight)
	assert.Equal(t, uint64(1), b.Stats().Failed)
}

type panics struct{ error }

func (panics) Is(error) bool { panic("Is") }

// A panic anywhere on the way leaves no permit and no open body behind.
func TestPanicsLeaveNothingBehind(t *testing.T) {
	boom := func(*http.Request) breaker.Gate { panic("boom") }
	ways := map[string]func(tr *breakerhttp.Transport, body *tracked){
		"in the gate": func(tr *breakerhttp.Transport, _ *tracked) { tr.Breaker = boom },
		"in the base": func(tr *breakerhttp.Transport, _ *tracked) {
			tr.Base = base(func(*http.Request) (*http.Response, error) { panic("boom") })
		},
		"in the judge": func(tr *breakerhttp.Transport, _ *tracked) { tr.Judge = func(*http.Response) error { panic("boom") } },
	}
	for name, break_ := range ways {
		t.Run(name, func(t *testing.T) {
			places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
			b := breaker.New(breaker.Config{})
			got := newTracked("answer")
			tr := &breakerhttp.Transport{Base: answer(200, got), Breaker: gate(b), Limit: gate(places)}
			break_(tr, got)
			sent := newTracked("question")
			assert.Equal(t, "boom", assert.Panics(t, func() { _ = send(t, tr, request(t, sent)) }))
			assert.Equal(t, 0, places.Stats().InFlight)
			s := b.Stats()
			if name == "in the gate" {
				assert.Equal(t, int64(1), sent.closes.Load())
				return
			}
			assert.Equal(t, uint64(1), s.Failed)
			if name == "in the judge" {
				assert.Equal(t, int64(1), got.closes.Load())
			}
		})
	}
}

func TestTransportWithoutGatesForwards(t *testing.T) {
	body := newTracked("text")
	none := func(*http.Request) breaker.Gate { return nil }
	for _, tr := range []*breakerhttp.Transport{{Base: answer(200, body)}, {Base: answer(200, body), Breaker: none, Limit: none}} {
		resp, err := tr.RoundTrip(request(t, nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	assert.Equal(t, int64(2), body.closes.Load())
}

func TestTransportOverARealServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	defer s.Close()
	places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 4, Queue: 100})
	tr := &breakerhttp.Transport{Breaker: gate(breaker.New(breaker.Config{Timeout: time.Minute})), Limit: gate(places)}
	client := &http.Client{Transport: tr}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := client.Post(s.URL, "text/plain", strings.NewReader("echo"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || string(text) != "echo" {
				t.Error(string(text), err)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 0, places.Stats().InFlight)
	assert.Equal(t, uint64(20), places.Stats().Admitted)
}
