package saga

import (
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// What a process remembers of sagas that it lost is bounded, and of use until there is
// a write.
func TestOutlivedClaims(t *testing.T) {
	c, err := New(NewMemory(), Config{})
	require.NoError(t, err)
	lose := func(id string, epoch uint64) { (&run{server: &server{Coordinator: c}, id: id, claim: epoch}).outlive() }
	lose("1", 0)
	assert.Equal(t, 0, len(c.outlived), "it was not claimed")
	for range 2 {
		lose("1", 7)
		assert.True(t, c.hasOutlived(Summary{ID: "1", Epoch: 7, Claims: 1}))
		assert.True(t, c.hasOutlived(Summary{ID: "1", Epoch: 9, Claims: 3}))
		assert.False(t, c.hasOutlived(Summary{ID: "1", Epoch: 9, Claims: 2}), "a write at epoch 7 has ended what that claim was")
		assert.False(t, c.hasOutlived(Summary{ID: "2", Epoch: 9, Claims: 9}))
		assert.Equal(t, 0, len(c.outlived), "what is of no use is forgotten")
	}
	for i := range maxOutlived + 10 {
		lose(fmt.Sprint(i), 7)
	}
	assert.Equal(t, maxOutlived, len(c.outlived))
	assert.Equal(t, uint64(7), c.outlived[fmt.Sprint(maxOutlived+9)])
}
