package saga

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

type level int8

func (l level) MarshalText() ([]byte, error) { return []byte{'l', byte('0' + l&7)}, nil }

// shouts writes itself by a method of its pointer.
type shouts string

func (s *shouts) MarshalJSON() ([]byte, error) { return json.Marshal(string(*s) + "!") }

// streams has the methods that encoding/json/v2 looks for, whatever they take.
type streams string

func (streams) MarshalJSONTo(any) error { return nil }

type streamed int

func (*streamed) UnmarshalJSONFrom(any) error { return nil }

type flat struct {
	ID     int    `json:"id"`
	User   string `json:"user,omitempty"`
	Paid   bool
	Count  uint16  `json:"count,omitempty"`
	Signed int64   `json:",omitempty"`
	Code   [0]byte `json:"-"`
}

type mixed struct {
	Name    string            `json:"name"`
	Price   float64           `json:"price,omitempty"`
	Level   level             `json:"level"`
	Loud    shouts            `json:"loud,omitempty"`
	Trail   []string          `json:"trail"`
	Notes   map[string]string `json:"notes,omitempty"`
	Inner   struct{ A, B int }
	At      time.Time       `json:"at"`
	Raw     json.RawMessage `json:"raw,omitempty"`
	Number  json.Number     `json:"number,omitempty"`
	Pointer *int            `json:"pointer,omitempty"`
	Any     any             `json:"any,omitempty"`
	hidden  int
}

var texts = []string{"", "ada", "a\"b", `back\slash`, "<&>", "ü", "\u2028", "\x00", "\xff", "line\nbreak", "~ !"}

func randomFlat(rnd *rand.Rand) flat {
	return flat{
		ID: rnd.IntN(5) - 2, User: texts[rnd.IntN(len(texts))], Paid: rnd.IntN(2) == 0,
		Count: uint16(rnd.IntN(3)), Signed: []int64{0, 1, math.MinInt64}[rnd.IntN(3)],
	}
}

func randomMixed(rnd *rand.Rand) mixed {
	n := rnd.IntN(3)
	m := mixed{
		Name: texts[rnd.IntN(len(texts))], Price: []float64{0, 1.5, math.Copysign(0, -1), 1e300}[rnd.IntN(4)], Level: level(n),
		Loud: shouts(texts[rnd.IntN(len(texts))]), At: time.Unix(int64(n), 0).UTC(), Number: json.Number([]string{"", "12", "1e3"}[n]),
		Raw: json.RawMessage([]string{"", `{ "a": [1, 2] }`, "null"}[n]), hidden: n,
	}
	if n > 0 {
		m.Trail, m.Notes, m.Pointer, m.Any = texts[:n], map[string]string{"a": "<"}, &n, []any{1, "x"}
		m.Inner.A = n
	}
	return m
}

// A layout writes what encoding/json writes, and finds the changes that a scan finds.
func TestLayoutIsEncodingJSON(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	t.Run("flat", func(t *testing.T) { sameAsJSON(t, func() flat { return randomFlat(rnd) }) })
	t.Run("mixed", func(t *testing.T) { sameAsJSON(t, func() mixed { return randomMixed(rnd) }) })
}

func sameAsJSON[S any](t *testing.T, next func() S) {
	l := layoutOf(reflect.TypeFor[S]())
	require.True(t, l != nil, "no layout")
	p := &program{g: &graph{chain: true}, layout: l}
	old := side{}
	for range 2000 {
		s := next()
		now, err := p.encode(side{}, &s)
		require.NoError(t, err)
		want, err := json.Marshal(&s)
		require.NoError(t, err)
		require.Equal(t, string(want), string(now.data))
		if old.data != nil {
			require.Equal(t, string(new(differ).delta(old.data, now.data)), string(p.delta(new(differ), &old, &now)))
		}
		if now.copied {
			var decoded S
			require.NoError(t, json.Unmarshal(now.data, &decoded))
			require.True(t, reflect.DeepEqual(s, decoded), string(now.data))
		}
		old = now
	}
}

// What encoding/json treats in a way of its own is left to it as a whole.
func TestLayoutLeavesTheRestToEncodingJSON(t *testing.T) {
	for _, v := range []any{
		1, "text",
		[]int{1},
		map[string]int{},
		time.Time{},
		new(int), (*flat)(nil),
		struct{ flat }{},
		struct {
			A int `json:"a,string"`
		}{},
		struct {
			A int `json:"a,omitzero"`
		}{},
		struct {
			A int `json:"a"`
			B int `json:"A"`
		}{},
		struct {
			A int `json:"ü"`
		}{},
	} {
		assert.True(t, layoutOf(reflect.TypeOf(v)) == nil, reflect.TypeOf(v).String())
	}
	dash := reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"-,"`}})
	assert.True(t, layoutOf(dash) == nil, "a field named -")
}

// A copy is what decoding gives only where all of S travels as it is.
func TestLayoutKnowsWhatDoesNotTravel(t *testing.T) {
	for name, c := range map[string]struct {
		encode func() (side, error)
		copied bool
	}{
		"plain":       {encoded(struct{ A string }{"ü"}), true},
		"no UTF-8":    {encoded(struct{ A string }{"\xff"}), false},
		"left out":    {encoded(flat{}), false},
		"unexported":  {encoded(struct{ a, B int }{}), false},
		"a pointer":   {encoded(struct{ A *int }{}), false},
		"a slice":     {encoded(struct{ A []byte }{}), false},
		"a method":    {encoded(struct{ A level }{}), false},
		"a writer":    {encoded(struct{ A streams }{"x"}), false},
		"a reader":    {encoded(struct{ A streamed }{1}), false},
		"a float":     {encoded(struct{ A float64 }{}), false},
		"an any":      {encoded(struct{ A any }{}), false},
		"with number": {encoded(struct{ A json.Number }{"1"}), false},
	} {
		got, err := c.encode()
		require.NoError(t, err, name)
		assert.Equal(t, c.copied, got.copied, name)
	}
}

func encoded[S any](s S) func() (side, error) {
	return func() (side, error) { return (&program{layout: layoutOf(reflect.TypeFor[S]())}).encode(side{}, &s) }
}

// What does not encode is an error with the words of encoding/json.
func TestLayoutReportsWhatDoesNotEncode(t *testing.T) {
	type bad struct {
		A int
		F float64
	}
	_, err := encoded(bad{1, math.NaN()})()
	_, want := json.Marshal(bad{1, math.NaN()})
	require.Error(t, err)
	assert.Equal(t, want.Error(), err.Error())
	_, err = encoded(struct {
		F func() `json:",omitempty"`
	}{})()
	assert.Error(t, err)
}
