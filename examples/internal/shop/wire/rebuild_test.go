package wire_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// added is the one event of a sum.
type added struct{ N int }

// sum is a read model, by stream.
type sum map[string]int

func (s sum) Folded() any { return s }

// summing runs a node with a model of the sums, and gives the test its log, its model
// and a way to ask it.
func summing(t *testing.T, evolve func(sum, eventsource.Recorded, added) sum, test func(t *testing.T, log wire.Events, m *wire.Model[added, sum], rebuild func(name, secret string) (int, wire.Rebuilt))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		n := wire.NewNode(wire.Config{
			Name: "n", Network: network, Settings: settings(), Secret: "of the run",
			Stores: wire.Stores{Events: func(string) (wire.Events, error) { return eventsource.NewMemory(), nil }},
		})
		log, err := n.Open("events")
		require.NoError(t, err)
		codec := eventsource.NewCodec(map[string]added{"Added": {}})
		m := wire.NewModel(n, "the/sums", log, codec, func() sum { return sum{} }, evolve)
		ln, err := network.Listen("127.0.0.1:3000")
		require.NoError(t, err)
		n.Serve(ln, http.NewServeMux())
		client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
		test(t, log, m, func(name, secret string) (int, wire.Rebuilt) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:3000/_control/projections/"+name+"/rebuild", nil)
			require.NoError(t, err)
			req.Header.Set(wire.HeaderSecret, secret)
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			var out wire.Rebuilt
			_ = json.Unmarshal(body, &out) // a refusal is another document
			return resp.StatusCode, out
		})
		client.CloseIdleConnections()
		n.Stop(t.Context())
	})
}

func add(t *testing.T, log wire.Events, stream string, n int) eventsource.Position {
	t.Helper()
	raw, err := json.Marshal(added{n})
	require.NoError(t, err)
	out, err := log.Append(t.Context(), []eventsource.Event{{Type: "Added", Stream: stream, Data: raw}})
	require.NoError(t, err)
	return out.Last
}

func honest(s sum, r eventsource.Recorded, e added) sum {
	s[r.Stream] += e.N
	return s
}

// A13: what comes out of the log from its first event is what the model has, while it
// goes on.
func TestARebuildIsWhatTheModelHas(t *testing.T) {
	summing(t, honest, func(t *testing.T, log wire.Events, m *wire.Model[added, sum], rebuild func(string, string) (int, wire.Rebuilt)) {
		status, out := rebuild("the%2Fsums", "of the run")
		assert.Equal(t, http.StatusOK, status)
		assert.True(t, out.Equal && out.Events == 0, "of an empty log: %+v", out)
		for i := range 20 {
			last := add(t, log, "ab"[i%2:i%2+1], i)
			if i%2 == 0 { // every other time the model has not seen it yet
				require.NoError(t, m.WaitFor(t.Context(), last))
			}
			status, out = rebuild("the%2Fsums", "of the run")
			assert.Equal(t, http.StatusOK, status)
			assert.True(t, out.Equal && out.Replay == out.Live && out.Replay != "", "%+v", out)
			require.NoError(t, m.WaitFor(t.Context(), last)) // nothing is lost, and nothing counts twice
			m.View(func(s sum, at eventsource.Position) {
				assert.Equal(t, last, at)
				assert.Equal(t, i*(i+1)/2, s["a"]+s["b"])
			})
		}
		_, out = rebuild("the%2Fsums", "of the run")
		assert.Equal(t, 20, out.Events)
		for _, wrong := range [][2]string{{"the%2Fproducts", "of the run"}, {"the%2Fsums", "guess"}, {"the%2Fsums", ""}} {
			status, _ = rebuild(wrong[0], wrong[1])
			assert.Equal(t, http.StatusNotFound, status, "%v", wrong)
		}
	})
}

// A13: a model that holds something which is not in the log is told apart, and what it
// then has is from the log alone.
func TestARebuildFindsAModelThatIsNotOfItsLog(t *testing.T) {
	luck := 0
	lucky := func(s sum, r eventsource.Recorded, e added) sum {
		s[r.Stream] += e.N + luck
		return s
	}
	summing(t, lucky, func(t *testing.T, log wire.Events, m *wire.Model[added, sum], rebuild func(string, string) (int, wire.Rebuilt)) {
		luck = 1
		require.NoError(t, m.WaitFor(t.Context(), add(t, log, "a", 5)))
		synctest.Wait()
		luck = 0
		status, out := rebuild("the%2Fsums", "of the run")
		assert.Equal(t, http.StatusOK, status)
		assert.False(t, out.Equal)
		m.View(func(s sum, _ eventsource.Position) { assert.Equal(t, 5, s["a"]) })
		_, out = rebuild("the%2Fsums", "of the run")
		assert.True(t, out.Equal)
	})
}
