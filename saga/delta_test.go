package saga

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestDeltaHoldsWhatChanged(t *testing.T) {
	for _, c := range []struct{ old, now, want string }{
		{`{"a":1,"b":2}`, `{"a":1,"b":2}`, ``},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, ``},
		{`{"a":1,"b":2}`, `{"a":1,"b":3}`, `{"set":{"b":3}}`},
		{`{"a":1}`, `{"a":1,"c":[1,{"x":"}"}]}`, `{"set":{"c":[1,{"x":"}"}]}}`},
		{`{"a":1,"b":2}`, `{"b":2}`, `{"unset":["a"]}`},
		{`{"a":1,"b":2}`, `{"b":{}}`, `{"set":{"b":{}},"unset":["a"]}`},
		{`{}`, `{"\"a,:{":"\\"}`, `{"set":{"\"a,:{":"\\"}}`},
		{`1`, `2`, `{"whole":2}`},
		{`null`, `{"a":1}`, `{"whole":{"a":1}}`},
		{`{"a":1}`, `null`, `{"whole":null}`},
	} {
		got := new(differ).delta([]byte(c.old), []byte(c.now))
		assert.Equal(t, c.want, string(got), c.old+" to "+c.now)
	}
}

// T7: the change of one field costs its bytes, whatever else S holds.
func TestDeltaDoesNotGrowWithTheState(t *testing.T) {
	type state struct {
		Blob string
		N    int
	}
	big := state{Blob: string(make([]byte, 64<<10)), N: 1}
	old, _ := json.Marshal(big)
	big.N = 2
	now, _ := json.Marshal(big)
	assert.Equal(t, `{"set":{"N":2}}`, string(new(differ).delta(old, now)))
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[true]}`), []byte(`{"b":[false],"c":"x"}`))
	f.Add([]byte(`[]`), []byte(`{}`))
	f.Add([]byte(`{"":{"":""}}`), []byte(`{"":0}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var old, now any
		if json.Unmarshal(a, &old) != nil || json.Unmarshal(b, &now) != nil {
			return
		}
		check(t, old, now)
	})
}

func check(t *testing.T, old, now any) {
	t.Helper()
	before, _ := json.Marshal(old)
	after, _ := json.Marshal(now)
	d := new(differ).delta(before, after)
	if d != nil {
		require.True(t, json.Valid(d), string(d))
	}
	patched, err := patch(before, d)
	require.NoError(t, err)
	var got, want any
	require.NoError(t, json.Unmarshal(patched, &got))
	require.NoError(t, json.Unmarshal(after, &want))
	require.True(t, reflect.DeepEqual(want, got), string(before)+" "+string(d)+" "+string(patched))
}

func TestDeltaRoundTrips(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var value func(depth int) any
	value = func(depth int) any {
		switch n := rnd.IntN(7); {
		case n == 0:
			return nil
		case n == 1:
			return rnd.Float64()
		case n == 2 || depth == 0:
			return []string{"", "\"", "\\", "{}", "a,b:c", "\n\x00<", "ü"}[rnd.IntN(7)]
		case n == 3:
			return []any{value(depth - 1), value(depth - 1)}
		default:
			object := map[string]any{}
			for range rnd.IntN(5) {
				object[[]string{"a", "b", "c", "\"", "\\", "ü{"}[rnd.IntN(6)]] = value(depth - 1)
			}
			return object
		}
	}
	for range 20000 {
		check(t, value(3), value(3))
	}
}

// Damaged bytes are an error or a value, never a panic.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"a":1}`), []byte(`{"set":{"a":2},"unset":["b"]}`))
	f.Add([]byte(`{"a"`), []byte(`{"set":[}`))
	f.Fuzz(func(_ *testing.T, old, d []byte) {
		_, _ = patch(old, d)
		_, _ = fields(nil, old)
		_, _ = changed(d)
	})
}
