package sharding_test

import (
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

func letters(t *testing.T, shards ...sharding.Shard) string {
	t.Helper()
	s, err := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: shards})
	require.NoError(t, err)
	var text strings.Builder
	for i, id := range s.All() {
		if text.WriteString(string(id)); i == 23 {
			break
		}
	}
	assert.Equal(t, 1145, s.Slot("user:1"))
	return text.String()
}

func TestPlacementVectors(t *testing.T) {
	assert.Equal(t, "bcccbcbcccabccacbcabccba", letters(t, sharding.Shard{ID: "a"}, sharding.Shard{ID: "b"}, sharding.Shard{ID: "c", Weight: 2}))
	assert.Equal(t, "bbcabcbcccabccacbcabcaba", letters(t, sharding.Shard{ID: "a"}, sharding.Shard{ID: "b"}, sharding.Shard{ID: "c"}))
	u := sharding.Draw(0, sharding.String("a"))
	assert.Equal(t, uint64(0x1e9202593a622841), u)
	assert.Equal(t, uint64(13168107570), sharding.Cost(u))
	assert.Equal(t, uint64(0xef46db3751d8e999), sharding.String(""))
}
