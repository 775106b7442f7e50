package compat_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

// number digests what f gives for a million keys.
func number(f func(key string) uint64) string {
	sum := xxhash.New()
	var b, key []byte
	for i := range 1_000_000 {
		key = strconv.AppendInt(append(key[:0], "user:"...), int64(i), 10)
		b = binary.LittleEndian.AppendUint64(b[:0], f(string(key)))
		_, _ = sum.Write(b)
	}
	return fmt.Sprintf("%016x", sum.Sum64())
}

// T1, T5: as in package sharding, and equal with GOARCH=386. A digest that
// differs is a mistake: the other systems did not change.
// KEELSON_GOLDEN=new writes the file when a function is added.
func TestEncodingsAreFrozen(t *testing.T) {
	var servers []sharding.Shard
	var ids []sharding.ID
	for i := range 20 {
		ids = append(ids, sharding.ID(fmt.Sprintf("10.0.0.%d:11211", i)))
		servers = append(servers, sharding.Shard{ID: ids[i], Weight: uint32(1 + i%7*100)})
	}
	k, err := compat.NewKetama(servers...)
	require.NoError(t, err)
	m, err := compat.NewMaglev(sharding.String, 65537, ids...)
	require.NoError(t, err)
	got := map[string]string{
		"MD5Hex":         number(compat.MD5Hex),
		"MD5Bytes":       number(compat.MD5Bytes),
		"Slot":           number(func(key string) uint64 { return uint64(compat.Slot(key)) }),
		"CRC16":          number(func(key string) uint64 { return uint64(compat.CRC16([]byte(key))) }),
		"Murmur2":        number(func(key string) uint64 { return uint64(compat.Murmur2([]byte(key))) }),
		"KafkaPartition": number(func(key string) uint64 { return uint64(compat.KafkaPartition([]byte(key), 1+len(key)*7)) }),
		"Murmur3Token":   number(func(key string) uint64 { return uint64(compat.Murmur3Token([]byte(key + "\xf0"))) }),
		"Ketama":         number(func(key string) uint64 { return uint64(k.Bucket(key)) }),
		"Maglev":         number(func(key string) uint64 { return uint64(m.Bucket(sharding.String(key))) }),
	}
	const file = "testdata/golden.txt"
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintf(&lines, "%s %s\n", got[name], name)
	}
	if os.Getenv("KEELSON_GOLDEN") == "new" {
		require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), lines.String())
}
