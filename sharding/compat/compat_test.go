package compat_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

// T16: both readings of "md5, first 8" exist and are told apart.
func TestBothReadingsOfMD5(t *testing.T) {
	assert.Equal(t, uint64(3301589560), compat.MD5Hex("1"))
	assert.Equal(t, 0, sharding.Mod(compat.MD5Hex("1"), 4))
	assert.Equal(t, uint64(14180219187711517570), compat.MD5Bytes("1"))
	assert.Equal(t, 2, sharding.Mod(compat.MD5Bytes("1"), 4))
	for i := range 100 {
		key := strings.Repeat(fmt.Sprint(i), i)
		assert.Equal(t, compat.MD5Bytes(key)>>32, compat.MD5Hex(key))
	}
}

func TestCRC16IsXMODEM(t *testing.T) {
	assert.Equal(t, uint16(0x31c3), compat.CRC16([]byte("123456789")))
	assert.Equal(t, 12739, compat.Slot("123456789"))
	assert.Equal(t, uint16(0), compat.CRC16(nil))
}

// T17: the first "{", the first "}" after it, something between; else the
// whole key. The empty key is slot 0.
func TestHashTags(t *testing.T) {
	for key, want := range map[string]string{
		"{user1000}.following": "user1000",
		"foo{}{bar}":           "foo{}{bar}",
		"foo{{bar}}zap":        "{bar",
		"foo{bar}{zap}":        "bar",
		"foo{bar":              "foo{bar",
		"foo}bar{":             "foo}bar{",
		"foo}{bar}":            "bar",
		"{}":                   "{}",
		"":                     "",
		"{\x00}":               "\x00",
	} {
		assert.Equal(t, want, compat.Tag(key), "%q", key)
	}
	assert.Equal(t, 0, compat.Slot(""))
	assert.Equal(t, compat.Slot("user1000"), compat.Slot("{user1000}.following"))
}

func FuzzTag(f *testing.F) {
	for _, seed := range []string{"", "a{b}c", "{}x", "{{}}", "}{", "{a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		tag := compat.Tag(key)
		require.True(t, strings.Contains(key, tag))
		require.Equal(t, tag == "", key == "")
		if tag != key {
			require.True(t, strings.Contains(key, "{"+tag+"}") && !strings.Contains(tag, "}"))
			require.Equal(t, compat.Slot("{"+tag+"}"), compat.Slot(key))
		}
	})
}

// T15: Kafka masks the sign bit: Murmur2("kafka") has it set, and an absolute
// value would give another partition.
func TestKafkaPartitions(t *testing.T) {
	assert.Equal(t, uint32(0xd067cf64), compat.Murmur2([]byte("kafka")))
	assert.Equal(t, int(0x5067cf64%7), compat.KafkaPartition([]byte("kafka"), 7))
	// The vectors of Kafka's own UtilsTest, as signed numbers.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		assert.Equal(t, want, int32(compat.Murmur2([]byte(key))), "%q", key)
	}
	for _, n := range []int{0, -1} {
		assert.Panics(t, func() { compat.KafkaPartition(nil, n) })
	}
	for i := range 1000 {
		p := compat.KafkaPartition(fmt.Append(nil, i), math.MaxInt32)
		require.True(t, p >= 0)
	}
}

// The tokens are those of Cassandra, among them keys with bytes above 127,
// whose sign counts (the DataStax Python driver tests the same ones).
func TestMurmur3Tokens(t *testing.T) {
	for key, want := range map[string]int64{
		"":    0,
		"123": -7468325962851647638,
		strings.Repeat("\x00\xff\x10\xfa\x99", 10): 5837342703291459765,
		strings.Repeat("\xfe", 8):                  -8927430733708461935,
		strings.Repeat("\x10", 8):                  1446172840243228796,
		"9223372036854775807":                      7162290910810015547,
		"hello":                                    -3758069500696749310,
	} {
		assert.Equal(t, want, compat.Murmur3Token([]byte(key)), "%q", key)
	}
}

// T22: an empty range is refused, the case of digits does not matter, zeros at
// the end neither.
func TestVitessNames(t *testing.T) {
	for name, want := range map[string]string{
		"-":                   "(-inf, +inf)",
		"-80":                 "(-inf, 9223372036854775808)",
		"-8000":               "(-inf, 9223372036854775808)",
		"80-":                 "[9223372036854775808, +inf)",
		"40-80":               "[4611686018427387904, 9223372036854775808)",
		"aB-Ba":               "[12321848580485677056, 13402712491054596096)",
		"00000000000000ff-01": "[255, 72057594037927936)",
	} {
		r, err := compat.KeyRange(name)
		require.NoError(t, err, name)
		assert.Equal(t, want+" -> "+name, r.String())
	}
	for _, bad := range []string{"", "0", "80", "80-80", "80-8000", "80-40", "-0", "8-", "-zz", "--", "-80-", "-00", "112233445566778899-", "x"} {
		r, err := compat.KeyRange(bad)
		assert.Error(t, err, "%q is %v", bad, r)
	}
}

func FuzzKeyRange(f *testing.F) {
	for _, seed := range []string{"-", "-80", "40-80", "80-", "80-8000", "zz-", "--"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r, err := compat.KeyRange(name)
		if err != nil {
			return
		}
		require.Equal(t, sharding.ID(name), r.Owner)
		_, err = sharding.NewRanges(r)
		require.NoError(t, err, "every range that is returned is a good one")
	})
}

// T6: neither the order of ids nor anything else but the set matters; every
// shard has its fair number of places.
func TestMaglevIsFairAndIgnoresOrder(t *testing.T) {
	const size = 65537
	ids := []sharding.ID{"a", "b", "c", "d", "e"}
	back := []sharding.ID{"e", "d", "c", "b", "a"}
	m, err := compat.NewMaglev(sharding.String, size, ids...)
	require.NoError(t, err)
	n, err := compat.NewMaglev(sharding.String, size, back...)
	require.NoError(t, err)
	counts := make([]int, len(ids))
	for h := range uint64(size) {
		require.Equal(t, ids[m.Bucket(h)], back[n.Bucket(h)])
		counts[m.Bucket(h)]++
	}
	for i, c := range counts {
		assert.True(t, c == size/5 || c == size/5+1, "%s has %d", ids[i], c)
	}
	fewer, err := compat.NewMaglev(sharding.String, size, ids[:4]...)
	require.NoError(t, err)
	moved := 0
	for h := range uint64(size) {
		if m.Bucket(h) != 4 && m.Bucket(h) != fewer.Bucket(h) {
			moved++
		}
	}
	assert.True(t, moved < size/20, "%d of %d places moved needlessly", moved, size)
	for _, bad := range []func() (*compat.Maglev, error){
		func() (*compat.Maglev, error) { return compat.NewMaglev(nil, 7, "a") },
		func() (*compat.Maglev, error) { return compat.NewMaglev(sharding.String, 7) },
		func() (*compat.Maglev, error) { return compat.NewMaglev(sharding.String, 9, "a") },
		func() (*compat.Maglev, error) { return compat.NewMaglev(sharding.String, 2, "a", "b") },
		func() (*compat.Maglev, error) { return compat.NewMaglev(sharding.String, -7, "a") },
		func() (*compat.Maglev, error) { return compat.NewMaglev(sharding.String, 7, "a", "a") },
		func() (*compat.Maglev, error) { return compat.NewMaglev(sharding.String, 7, "") },
	} {
		_, err := bad()
		assert.Error(t, err)
	}
}

func TestKetamaRefuses(t *testing.T) {
	for _, bad := range [][]sharding.Shard{nil, {{}}, {{ID: "a"}, {ID: "a"}}, {{ID: "a", Drain: true}}} {
		_, err := compat.NewKetama(bad...)
		assert.Error(t, err)
	}
	k, err := compat.NewKetama(sharding.Shard{ID: "a"}, sharding.Shard{ID: "b"})
	require.NoError(t, err)
	for i := range 1000 {
		_, _, owner := k.Locate(fmt.Sprint(i))
		require.Equal(t, owner, []sharding.ID{"a", "b"}[k.Bucket(fmt.Sprint(i))])
	}
}

func TestNothingAllocates(t *testing.T) {
	key, data := "user:12345678901234567890123456789012345678901234567890", []byte("some key of some length")
	k, err := compat.NewKetama(sharding.Shard{ID: "a"}, sharding.Shard{ID: "b"})
	require.NoError(t, err)
	sum := uint64(0)
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() {
		sum += compat.MD5Hex(key) + compat.MD5Bytes(key) + uint64(compat.Slot(key)) + uint64(compat.CRC16(data)) +
			uint64(compat.KafkaPartition(data, 9)) + uint64(compat.Murmur3Token(data)) + uint64(k.Bucket(key))
	}))
}
