package engine

import (
	"fmt"
	"time"
)

// Direction is a way through a proxy, or both.
type Direction uint8

// The ways, as seen from the proxy. The zero Direction is none.
const (
	ToTarget Direction = 1 << iota
	ToClient
	BothWays = ToTarget | ToClient
)

// Fault is what a proxy does to its connections. The faults combine. The zero
// Fault is none: bytes pass as they come.
type Fault struct {
	// Latency delays every byte by this much, each way, without narrowing the
	// line: what is sent together arrives together. Up to 2 MiB are under way
	// per direction before the sender feels it. Zero means no delay.
	Latency time.Duration

	// Jitter delays each chunk that was read by up to this much more, evenly
	// distributed. Bytes never overtake each other. Zero means none.
	Jitter time.Duration

	// Bandwidth limits each direction of each connection, in bytes per second.
	// Zero means no limit.
	Bandwidth int

	// Stall holds all bytes that go in these directions, the end of the stream
	// among them. Connections stay and new ones come about; senders notice only
	// when the buffers are full. Zero means none.
	Stall Direction

	// HalfOpen keeps the end of one side from the other: a client does not learn
	// that its server has closed, been killed or reset the connection, or cannot
	// be reached at all, and the other way round. It learns when the fault ends.
	HalfOpen bool

	// Silent accepts new connections and leaves them alone, as an overloaded
	// server does: the target does not hear of them until the fault ends.
	Silent bool

	// Refuse closes the listener, so that the kernel refuses new connections.
	// Those that exist live on.
	Refuse bool
}

// validate names the field that makes no sense.
func (f Fault) validate() error {
	switch {
	case f.Latency < 0:
		return fmt.Errorf("engine: Fault.Latency is %v; it may not be negative", f.Latency)
	case f.Jitter < 0:
		return fmt.Errorf("engine: Fault.Jitter is %v; it may not be negative", f.Jitter)
	case f.Bandwidth < 0:
		return fmt.Errorf("engine: Fault.Bandwidth is %d; it may not be negative", f.Bandwidth)
	case f.Stall > BothWays:
		return fmt.Errorf("engine: Fault.Stall is %d; it may be ToTarget, ToClient or BothWays", f.Stall)
	}
	return nil
}

// regime is a fault in force. It is replaced whole, and changed is closed then:
// who waits because of the old one looks at the new one.
type regime struct {
	Fault
	changed chan struct{}
}
