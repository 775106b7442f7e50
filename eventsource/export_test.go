package eventsource

import "time"

// NewMemoryWith is NewMemory with a mask for every hash, and with a clock.
func NewMemoryWith(hashMask uint64, now func() time.Time) *Memory { return newMemory(hashMask, now) }

// IsUTF8 is what Validate asks of every text.
var IsUTF8 = isUTF8
