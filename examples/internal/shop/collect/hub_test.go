package collect_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func newHub() *collect.Hub {
	return collect.NewHub("RUN", func() ([]byte, error) { return []byte(`"all"`), nil })
}

// take returns what a client would send now, in short form: kind and data.
func take(t *testing.T, c *collect.Client) (out []string) {
	t.Helper()
	frames, err := c.Take()
	require.NoError(t, err)
	for _, f := range frames {
		out = append(out, f.Kind+" "+string(f.Data))
	}
	return out
}

func TestANewClientStartsWithASnapshot(t *testing.T) {
	h := newHub()
	h.Publish("log", 1, false)
	c := h.Join("")
	assert.Equal(t, []string{`snapshot "all"`}, take(t, c))
	h.Publish("log", 2, false)
	assert.Equal(t, []string{"log 2"}, take(t, c))
}

func TestAClientGoesOnWhereItWas(t *testing.T) {
	h := newHub()
	for n := range 5 {
		h.Publish("log", n+1, false)
		h.Publish("state", n+1, true)
	}
	// Frame 6 is the third state: what was kept since then are logs 4 and 5.
	assert.Equal(t, []string{"log 4", "log 5"}, take(t, h.Join("RUN-6")))
	assert.Equal(t, 0, len(take(t, h.Join("RUN-10"))))
}

// T17: an id of an older run, of the future or of no form is not taken for one of
// this run, and neither is one whose successors have left the ring.
func TestAForeignIDGetsASnapshot(t *testing.T) {
	h := newHub()
	h.Publish("log", 1, false)
	for _, id := range []string{"OLD-1", "RUN-2", "RUN-", "RUN--1", "RUN", "-1", "1", "RUN-1x", "RUN-99999999999999999999"} {
		assert.Equal(t, []string{`snapshot "all"`}, take(t, h.Join(id)), "%s", id)
	}
	for n := range 4096 {
		h.Publish("log", n, false)
	}
	assert.Equal(t, []string{`snapshot "all"`}, take(t, h.Join("RUN-0")))
	assert.Equal(t, 4096, len(take(t, h.Join("RUN-1"))), "all that the ring holds")
}

// T28: long frames fill the ring sooner: it holds four megabytes at most.
func TestTheRingIsBoundedInBytes(t *testing.T) {
	h := newHub()
	for n := range 40 {
		h.Publish("log", strings.Repeat("x", 500_000), false)
		if n >= 10 {
			assert.Equal(t, 8, len(take(t, h.Join(fmt.Sprintf("RUN-%d", n-7)))))
			assert.Equal(t, 1, len(take(t, h.Join(fmt.Sprintf("RUN-%d", n-8)))), "a snapshot")
		}
	}
	for n := range 5000 {
		h.Publish("log", n, false)
	}
	assert.Equal(t, 4096, len(take(t, h.Join(fmt.Sprintf("RUN-%d", 5040-4096)))))
}

// A client that is behind by more than its queue gets one snapshot and no part
// of what the snapshot holds; others get every frame.
func TestASlowClientLosesFramesAlone(t *testing.T) {
	h := newHub()
	slow, quick := h.Join(""), h.Join("")
	take(t, slow)
	take(t, quick)
	for n := range 300 {
		h.Publish("log", n, false)
		assert.Equal(t, []string{fmt.Sprintf("log %d", n)}, take(t, quick))
	}
	assert.Equal(t, []string{`snapshot "all"`}, take(t, slow))
	h.Publish("log", "next", false)
	assert.Equal(t, []string{`log "next"`}, take(t, slow))
}

func TestAClientThatHasLeftGetsNothing(t *testing.T) {
	h := newHub()
	c := h.Join("RUN-0")
	c.Leave()
	h.Publish("log", 1, false)
	assert.Equal(t, 0, len(take(t, c)))
}

func TestClosingTheHubEndsItsClients(t *testing.T) {
	h := newHub()
	before := h.Join("")
	h.Close()
	h.Close()
	<-before.Done()
	<-h.Join("").Done()
}

func FuzzResumeID(f *testing.F) {
	for _, id := range []string{"", "RUN-0", "RUN-1", "OLD-1", "RUN-18446744073709551615", "RUN-RUN-1"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		h := newHub()
		for n := range 3 {
			h.Publish("log", n, false)
		}
		got, err := json.Marshal(take(t, h.Join(id)))
		require.NoError(t, err)
		want := `["snapshot \"all\""]`
		switch id { // all other ids that mean a number of this run have leading zeros
		case "RUN-0", "RUN-1", "RUN-2":
			want = string(got)
			assert.NotEqual(t, `["snapshot \"all\""]`, want)
		case "RUN-3":
			want = "null"
		}
		if len(id) > 4 && id[:5] == "RUN-0" {
			return
		}
		assert.Equal(t, want, string(got))
	})
}
