package users

import (
	"math/rand/v2"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
)

// The sketch has sixteen places. Who has a tenth of the calls is found among a
// thousand others, and forgotten once somebody else has.
func TestTheHottestUserIsFound(t *testing.T) {
	draws := rand.New(rand.NewPCG(1, 2))
	var seen tally
	for _, hot := range []int{42, 7} {
		for range 5000 {
			if draws.IntN(10) == 0 {
				seen.add(hot)
			} else {
				seen.add(100 + draws.IntN(1000))
			}
		}
		v := seen.view()
		assert.Equal(t, hot, v.Hot)
		assert.True(t, v.HotShare > 0.03 && v.HotShare < 0.15, "share %v", v.HotShare)
	}
	assert.Equal(t, uint64(10000), seen.view().Asked)
	assert.Equal(t, shardView{}, (&tally{}).view())
}
