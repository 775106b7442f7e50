package cachetest

import "time"

// Faults are what a link does to its traffic. Shares are probabilities from 0 to
// 1. The zero Faults are a perfect link.
type Faults struct {
	Latency   time.Duration // a trip, or a delivery, takes a random time up to this. Zero means none.
	Fail      float64       // share of calls that fail before they have an effect. Zero means none.
	LoseReply float64       // share of calls that fail after they have had it. Zero means none.
	Drop      float64       // share of bus messages that are not delivered. Zero means none.
	Duplicate float64       // share of bus messages that are delivered twice. Zero means none.
}
