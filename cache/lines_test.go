//go:build amd64 || arm64

package cache

import (
	"reflect"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
)

// What readers load, what Sets of present keys look at, and what they change under the
// mutex are a cache line each.
// The allocator may put 8 bytes in front of all shards.
func TestShardsAreLaidOutInCacheLines(t *testing.T) {
	s := reflect.TypeFor[shard[string, string]]()
	assert.Equal(t, 0, int(s.Size()%64))
	at := func(v any) int { return int(reflect.ValueOf(v).Pointer()) }
	for _, n := range []int{1, 2, 32, 64, 128} { // from 64 on the allocator puts nothing in front
		for i, shards := 0, make([]shard[string, string], n); i < n; i++ {
			x := &shards[i]
			lines := []int{at(&x.slots) / 64, at(&x.flying) / 64, at(&x.mu) / 64}
			assert.True(t, lines[0] < lines[1] && lines[1] < lines[2], "%d shards: slots, flying and mu in lines %#x", n, lines)
			assert.Equal(t, at(&x.flying)/64, at(&x.unlike)/64)
			assert.Equal(t, at(&x.mu)/64, at(&x.broom.now)/64)
			assert.True(t, at(&x.misses)/64 < (at(x)+int(s.Size()))/64, "the next shard's slots are in the line of misses")
		}
	}
}
