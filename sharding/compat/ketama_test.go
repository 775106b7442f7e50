package compat_test

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

// libketama's own acceptance test prints hash, point and server of a million
// keys and compares the md5 of the output with this one.
func TestKetamaPassesTheTestOfLibketama(t *testing.T) {
	var servers []sharding.Shard
	for i, memory := range []uint32{600, 300, 200, 350, 1000, 800, 950, 100} {
		servers = append(servers, sharding.Shard{ID: sharding.ID(fmt.Sprintf("10.0.1.%d:11211", i+1)), Weight: memory})
	}
	k, err := compat.NewKetama(servers...)
	require.NoError(t, err)
	sum := md5.New()
	_, _ = io.WriteString(sum, "\n") // the empty ketama_error that it prints first
	for i := range 1_000_000 {
		hash, point, owner := k.Locate(strconv.Itoa(i))
		fmt.Fprintf(sum, "%d %d %s\n", hash, point, owner)
	}
	assert.Equal(t, "5672b131391f5aa2b280936aec1eea74", hex.EncodeToString(sum.Sum(nil)))
}
