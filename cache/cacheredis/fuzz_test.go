package cacheredis

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/assert"
)

func FuzzRecord(f *testing.F) {
	header := make([]byte, headerLen)
	f.Add(string(header), int64(0), uint64(0))
	header[0] = 1
	binary.BigEndian.PutUint64(header[33:], 7)
	f.Add(string(header)+"data", int64(1<<50), uint64(7))
	f.Add("short", int64(5), uint64(1))
	f.Fuzz(func(t *testing.T, raw string, now int64, held uint64) {
		before := "of another record"
		r, rest := decodeRecord(raw, now, held, []byte(before))
		assert.Equal(t, before+string(r.Data), string(rest))
		assert.Equal(t, uint64(0), r.Token, "only the script says that it has granted one")
		if r.Version == 0 {
			assert.True(t, r.Data == nil && r.TTL == 0 && !r.Expired, "%+v of no record", r)
			return
		}
		assert.True(t, r.TTL >= 0)
		assert.Equal(t, r.Version == held, r.Data == nil)
		if r.Data != nil {
			assert.Equal(t, raw[headerLen:], string(r.Data))
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add(string(encodeMessage(cache.Message{Origin: 1, Keys: []string{"a", ""}, Tags: []string{"t"}, Soft: true})))
	f.Add(string(encodeMessage(cache.Message{Clear: true})))
	f.Add("\x01\x0000000000\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := decodeMessage(raw)
		if err != nil {
			return
		}
		again, err := decodeMessage(string(encodeMessage(m)))
		assert.NoError(t, err)
		assert.True(t, slices.Equal(m.Keys, again.Keys) && slices.Equal(m.Tags, again.Tags))
		assert.True(t, m.Origin == again.Origin && m.Soft == again.Soft && m.Clear == again.Clear)
	})
}

func TestDurationsAreRoundedUpAndSaturate(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		-1: 0, 0: 0, 1: 1, time.Microsecond: 1, time.Millisecond: 1, time.Millisecond + 1: 2,
		500 * time.Millisecond: 500, time.Hour: 3_600_000, 1<<63 - 1: longest,
	} {
		assert.Equal(t, want, wholeMillis(d), "%v", d)
	}
	assert.Equal(t, time.Duration(0), duration(-1))
	assert.Equal(t, 1500*time.Microsecond, duration(1500))
	assert.True(t, duration(1<<62) > 290*365*24*time.Hour)
}

func TestEndsOfSubscriptionsAreKeptInNumbers(t *testing.T) {
	var m marks
	for i := range uint64(1000) {
		m.remember(i, "mark")
	}
	assert.Equal(t, most, len(m.ends))
	assert.Equal(t, "mark", m.recall(999))
	assert.Equal(t, "", m.recall(1))
}
