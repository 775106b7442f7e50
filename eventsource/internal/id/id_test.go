package id

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestNewIsAVersion7OfNow(t *testing.T) {
	before := time.Now().UnixMilli()
	u := New()
	ms := int64(u[0])<<40 | int64(u[1])<<32 | int64(u[2])<<24 | int64(u[3])<<16 | int64(u[4])<<8 | int64(u[5])
	assert.True(t, before <= ms && ms <= time.Now().UnixMilli())
	assert.Equal(t, byte(7), u[6]>>4)
	assert.Equal(t, byte(2), u[8]>>6)
	assert.NotEqual(t, u, New())
}

func TestTextRoundTrips(t *testing.T) {
	for range 1000 {
		u := New()
		got, ok := Parse(u.String())
		require.True(t, ok)
		require.Equal(t, u, got)
	}
}

// Any 16 bytes have the text that package fmt makes of them, behind what is there
// already, and nothing behind it is touched.
func TestTextIsHexInFiveGroups(t *testing.T) {
	for i := range 2000 {
		var u UUID
		binary.BigEndian.PutUint64(u[:], rand.Uint64())
		binary.BigEndian.PutUint64(u[8:], rand.Uint64())
		if i < 256 { // each byte there is, at each place
			u = UUID(bytes.Repeat([]byte{byte(i)}, len(u)))
		}
		want := fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
		require.Equal(t, want, u.String())
		room := []byte("before" + strings.Repeat("?", TextLen) + "behind")
		require.Equal(t, "before"+want, string(u.Append(room[:6])))
		require.Equal(t, "before"+want+"behind", string(room))
		require.Equal(t, "before"+want, string(u.Append([]byte("before"))))
	}
	u := New()
	require.Equal(t, 1.0, testing.AllocsPerRun(100, func() { sink = u.String() }))
}

var sink string

func TestParseAcceptsTheCanonicalFormAlone(t *testing.T) {
	const text = "018f2f6e-7c1a-7bcd-9e00-0123456789ab"
	u, ok := Parse(text)
	require.True(t, ok)
	assert.Equal(t, text, u.String())
	for _, bad := range []string{
		"", "x", text[1:], text + "0", "018F2F6E-7C1A-7BCD-9E00-0123456789AB",
		"{18f2f6e-7c1a-7bcd-9e00-0123456789a}", "018f2f6e07c1a-7bcd-9e00-0123456789ab", "018f2f6g-7c1a-7bcd-9e00-0123456789ab",
	} {
		_, ok := Parse(bad)
		assert.False(t, ok, bad)
	}
}

func TestPositionsTravelInsideTheID(t *testing.T) {
	m, other := NewMaker(), NewMaker()
	now := time.Now()
	for range 1000 {
		pos := rand.Uint32()
		u := m.At(pos, now.UnixMilli())
		require.Equal(t, byte(7), u[6]>>4)
		require.Equal(t, byte(2), u[8]>>6)
		got, ok := MakerOf(m.Tag()).Position(u)
		require.True(t, ok)
		require.Equal(t, pos, got)
		_, ok = other.Position(u)
		require.True(t, !ok || other == m, "a foreign id")
	}
}

func TestIDsSortAsPositionsDo(t *testing.T) {
	m, now := NewMaker(), time.Now()
	for range 1000 {
		a, b := rand.Uint32(), rand.Uint32()
		require.Equal(t, a < b, m.At(a, now.UnixMilli()).String() < m.At(b, now.UnixMilli()).String())
	}
}

// The encoding of keyed ids is for ever: a repeat years later must be found.
func TestKeyedIDsAreFrozen(t *testing.T) {
	for want, got := range map[string]UUID{
		"fda80884-7230-8831-a60d-cddfde449057": Keyed("account-1", "request-1", 0),
		"a50d626e-b07f-82c7-ac72-a6fd5e820b31": Keyed("account-1", "request-1", 1),
		"8bdeb3f0-4656-8bd3-9d6c-65aff108b931": Keyed("", "request-1", 0),
	} {
		assert.Equal(t, want, got.String())
	}
	assert.NotEqual(t, Keyed("ab", "c", 0), Keyed("a", "bc", 0))
}

func BenchmarkAppendText(b *testing.B) {
	u, buf := New(), make([]byte, 0, 36)
	b.ReportAllocs()
	for b.Loop() {
		buf = u.Append(buf[:0])
	}
}
