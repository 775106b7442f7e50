package wire_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A poll waits for long where nothing has come for ten seconds, and shortly again as soon
// as something comes, or the node has work.
func TestPatienceIsForThoseAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		n := serve(t, network, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer n.Stop(t.Context())
		p := n.Patience(time.Second, 3*time.Second)
		expect := func(came bool, whole, beyond time.Duration) {
			t.Helper()
			w, b := p.Wait(came)
			assert.Equal(t, whole, w)
			assert.Equal(t, beyond, b)
		}
		expect(false, time.Second, 0)
		time.Sleep(9 * time.Second)
		expect(false, time.Second, 0)
		time.Sleep(time.Second)
		expect(false, 3*time.Second, 2*time.Second)
		expect(true, time.Second, 0)
		time.Sleep(10 * time.Second)
		expect(false, 3*time.Second, 2*time.Second)
		resp, err := (&http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}).RoundTrip(
			newRequest(t, http.MethodGet, "http://127.0.0.1:3000/"))
		require.NoError(t, err)
		resp.Body.Close()
		expect(false, time.Second, 0)
	})
}

func newRequest(t *testing.T, method, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	return req
}

// A poll that lets the callee wait for longer than a try may take is no slow call and
// gets its answer; one that hangs beyond that is a failure; and a breaker that is open
// refuses polls as it does any other call.
func TestALongPollIsJudgedByItsOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		callee := serve(t, network, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wait, err := wire.Duration(r, "wait")
			if err != nil {
				panic(err)
			}
			time.Sleep(wait)
		}))
		defer callee.Stop(t.Context())
		ln, err := network.Listen("127.0.0.1:3001")
		require.NoError(t, err)
		n := wire.NewNode(wire.Config{
			Name: "caller", Network: network, Settings: settings(),
			Peers: map[string][]wire.Instance{"callee": {{Name: "callee", URL: "http://127.0.0.1:3000"}}},
		})
		c := n.Client("callee", false)
		n.Serve(ln, http.NewServeMux())
		defer n.Stop(t.Context())
		poll := func(wait string) error {
			_, err := c.Do(t.Context(), wire.Request{Method: http.MethodGet, Path: "/?wait=" + wait, Poll: true, Once: true, Wait: 3 * time.Second})
			return err
		}
		for range 20 { // each alone in the window: two seconds
			require.NoError(t, poll("2.9s"))
		}
		assert.True(t, c.Available())
		begin := time.Now()
		assert.ErrorIs(t, poll("5s"), context.DeadlineExceeded)
		assert.Equal(t, 3300*time.Millisecond, time.Since(begin))
		time.Sleep(5 * time.Second) // until the callee is free again
		callee.Stop(t.Context())
		for range 60 { // beyond what a restart may take, ten failures in a window
			_ = poll("0s")
			time.Sleep(50 * time.Millisecond)
		}
		assert.ErrorIs(t, poll("0s"), breaker.ErrRejected)
	})
}

// Beats are at the same moments for everybody, and never two at once.
func TestBeatsAreCommon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []time.Duration{0, time.Millisecond, time.Second, 3490 * time.Millisecond, 3510 * time.Millisecond, 3999 * time.Millisecond} {
			time.Sleep(late)
			d := wire.Beat()
			assert.True(t, d >= wire.Rest/8 && d <= wire.Rest+wire.Rest/8, "%v", d)
			assert.Equal(t, int64(0), time.Now().Add(d).UnixNano()%int64(wire.Rest))
			time.Sleep(d)
		}
	})
}
