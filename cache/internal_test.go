package cache

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
)

func TestEnvelopeBringsBackTheHeader(t *testing.T) {
	for _, h := range []header{
		{},
		{absent: true, whole: time.Second, fresh: time.Second},
		{generation: math.MaxUint64, cost: time.Millisecond, whole: time.Hour, fresh: time.Minute, tags: []string{"", "a", "ä"}},
	} {
		got, payload, err := open(7, seal(7, h, []byte("data")))
		assert.NoError(t, err)
		assert.Equal(t, h, got)
		assert.Equal(t, "data", string(payload))
		_, _, err = open(8, seal(7, h, nil))
		assert.Error(t, err)
	}
}

// T39: a key is pending, or the Clear that stands for it is held: a read in between
// finds the one or the other.
func TestPendingKeysStayUntilTheClearIsHeld(t *testing.T) {
	p := pending{keys: make(map[string]pendingKey), tags: make(map[string]uint64)}
	assert.False(t, p.add(Message{Keys: []string{"a"}}))
	for i := range maxPending {
		p.add(Message{Tags: []string{strconv.Itoa(i)}})
	}
	assert.True(t, p.clear != 0)
	assert.True(t, p.holds("a"))
	p.coalesce()
	assert.False(t, p.holds("a"))
	assert.Equal(t, int64(1), p.len())
}

// T38: after a gap the stamps are known again once the Remote was asked behind it,
// and while the bus tells of all that comes later.
func TestStampsAreCompleteOnlyByAnAnswerFromBehindTheGap(t *testing.T) {
	s := stamps{tags: make(map[string]uint64)}
	s.setLive(true)
	asked := s.seq.Load()
	s.gap() // while the question was under way
	s.learn(Generations{Now: 7}, asked)
	assert.False(t, s.known(), "the answer may be older than what was missed")
	s.setLive(false)
	s.learn(Generations{Now: 7}, s.seq.Load())
	s.setLive(true)
	assert.False(t, s.known(), "nobody told what came after the answer")
	s.learn(Generations{Now: 7}, s.seq.Load())
	assert.True(t, s.known())
}

func FuzzEnvelope(f *testing.F) {
	f.Add(seal(0, header{}, nil))
	f.Add(seal(0, header{generation: 1, whole: time.Hour, tags: []string{"t", "u"}}, []byte("x")))
	f.Add(seal(0, header{absent: true}, nil)[:9])
	f.Fuzz(func(t *testing.T, data []byte) {
		h, payload, err := open(0, data)
		if err != nil {
			return
		}
		again, rest, err := open(0, seal(0, h, payload))
		assert.NoError(t, err)
		assert.Equal(t, h, again)
		assert.Equal(t, string(payload), string(rest))
		assert.True(t, h.cost >= 0 && h.whole >= 0 && h.fresh >= 0)
	})
}

func TestInstantsSaturate(t *testing.T) {
	assert.Equal(t, int64(never), after(1, math.MaxInt64))
	assert.Equal(t, int64(never), after(never, time.Hour))
	assert.Equal(t, int64(3), after(1, 2))
	c, err := New(Config[string, int]{Policy: Policy{TTL: math.MaxInt64, Stale: math.MaxInt64, StaleIfError: math.MaxInt64}})
	assert.NoError(t, err)
	assert.NoError(t, c.Set(t.Context(), "a", 1))
	e, ok := c.Peek("a")
	assert.True(t, ok)
	assert.False(t, e.Stale)
}

// An epoch that is trusted again must not be one that something else has had.
func TestEpochsAreNeverUsedTwice(t *testing.T) {
	c, err := New(Config[string, int]{})
	assert.NoError(t, err)
	seen := map[uint64]bool{c.epoch.Load(): true}
	for _, change := range []func(){
		c.gapEpoch, c.clearEpoch, func() { c.distrust() }, c.clearEpoch, c.clearEpoch, c.gapEpoch, func() { c.distrust() }, c.gapEpoch,
	} {
		change()
		epoch := c.epoch.Load()
		assert.False(t, seen[epoch], epoch)
		seen[epoch] = true
	}
	before := c.epoch.Load()
	c.distrust()
	assert.False(t, trusted(c.epoch.Load()))
	c.trust()
	assert.Equal(t, before, c.epoch.Load())
}
