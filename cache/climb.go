package cache

import "math"

// A climber moves the border between window and main towards more hits (Einziger
// et al., 2018): it takes a step, compares the hit ratio of two samples, and turns
// round if it fell.
//
// Hits are those that the policy finds in the entries that it passes, not all of
// them: three per entry and pass at most. That is enough to compare by.
type climber struct {
	share float64 // of the bound that the window has
	step  float64 // next change of share
	ratio float64 // of the last sample; negative: there was none

	hits, misses int // of the present sample
}

const (
	startShare = 0.05
	mostShare  = 0.80
	startStep  = 0.0625
	stepDecay  = 0.98
	restartAt  = 0.05 // change of the ratio that makes the steps large again

	// minSample keeps a tiny cache from climbing on noise.
	minSample = 8192
)

func newClimber() climber {
	return climber{share: startShare, step: startStep, ratio: -1}
}

// missed counts an insert into a full table of n entries and climbs when the
// sample is large enough.
func (c *climber) missed(n int) {
	if c.misses++; c.misses < max(10*n, minSample) {
		return
	}
	ratio := float64(c.hits) / float64(c.hits+c.misses)
	if c.ratio >= 0 {
		c.climb(ratio - c.ratio)
	}
	c.ratio, c.hits, c.misses = ratio, 0, 0
}

func (c *climber) climb(change float64) {
	if change < 0 {
		c.step = -c.step
	}
	if math.Abs(change) >= restartAt {
		c.step = math.Copysign(startStep, c.step)
	}
	c.share = min(max(0, c.share+c.step), mostShare)
	c.step *= stepDecay
}
