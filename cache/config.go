package cache

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Config says what a [Cache] keeps, where from, and with whom it shares it. The
// zero Config is a bounded cache of one process without a source.
type Config[K comparable, V any] struct {
	MaxEntries int              // bound of L1, never exceeded. Zero means 10000, or none if MaxWeight is set.
	MaxWeight  int64            // bound of the sum of Weigh, never exceeded. Zero means none.
	Weigh      func(K, V) int64 // required with MaxWeight; once per stored value, no lock held; negative is an error. Nil: no weights.

	Policy Policy // lifetimes and timeouts. Zero means no expiry, no stale serving.

	// Load, LoadMany and LoadEntry ask the source. Get uses the first set of
	// LoadEntry, Load, LoadMany; if all are nil a miss is ErrNotFound.
	Load Loader[K, V]
	// LoadMany serves GetMany. Nil: LoadEntry or Load per key, 16 at a time.
	LoadMany BulkLoader[K, V]
	// LoadEntry sees the old copy, or nil, and sets TTL and Tags per entry. To
	// return *old renews it. Nil: Load or LoadMany.
	LoadEntry func(ctx context.Context, key K, old *Entry[V]) (Entry[V], error)

	// Save is the sink of Set. Nil: Set only caches.
	Save        func(ctx context.Context, values map[K]V) error
	WriteBehind WriteBehind // makes Save asynchronous. Zero means write-through.

	Remote Remote         // L2; requires Bus. Nil means none.
	Bus    Bus            // tells other nodes; works without Remote. Nil means that this process is alone.
	Codec  Codec[V]       // for Remote. Nil: raw []byte and string, else encoding.BinaryMarshaler, else JSON.
	Schema uint32         // change it with the encoding of V: other schemas read as a miss. Zero is a schema like any other.
	Key    func(K) string // injective; for Remote and Bus. Nil works for string and integer kinds, else New fails.

	MaxLag        time.Duration // trust in L1 after the last sign of life of the Bus. Zero means 5 s, negative: none once cut.
	RemoteTimeout time.Duration // bound of each Remote and Bus call. Zero means 250 ms.
	OutageLoads   int           // loads at once while the Remote is down. Zero means 64, negative means no limit.

	ClockStep time.Duration // Zero reads the clock per hit; else a ticker does, and expiry is exact to one step.
	CountHits bool          // count L1 hits, about 5 ns each. Zero: all counters but LocalHits.

	OnRemove func(K, V)  // once per value that left L1, on the goroutine that removed it, no lock held. Nil: none.
	OnEvent  func(Event) // in order, one at a time, no lock held, on a goroutine that caused one. Nil: none.
}

// Policy says how long values live and how long callers wait.
type Policy struct {
	TTL          time.Duration // fresh for. Zero means for ever, negative means do not store.
	Stale        time.Duration // after TTL: served while one refresh runs. Zero means none.
	StaleIfError time.Duration // after TTL: served if the load fails or passes SoftTimeout. Zero means none.
	NotFoundTTL  time.Duration // life of "absent". Zero means that absence is not cached.
	LocalTTL     time.Duration // cap in L1, which never exceeds what is left in the Remote. Zero means no cap.
	Jitter       float64       // shortens each TTL by a random share up to this, 0..1. Zero means none.
	Early        float64       // beta of XFetch (Vattani et al., VLDB 2015; there 1). Zero means none.
	SoftTimeout  time.Duration // who may take a stale value waits this long, then takes it; the load goes on. Zero means LoadTimeout.
	LoadTimeout  time.Duration // bound of a load; callers return at it even if the loader ignores ctx. Zero means 10 s.
	RetryAfter   time.Duration // after a failed load, stale is served this long before the next try. Zero means 1 s, negative means at once.
	Outage       Outage        // a miss while the Remote is down. Zero means OutageLoad.
	Tags         []string      // of every entry, besides its own. Nil means none.
}

// Outage says what a miss does while the Remote is down.
type Outage uint8

// What a miss may do while the Remote is down.
const (
	OutageLoad  Outage = iota // ask the source, OutageLoads at once
	OutageFail                // ErrRemote at once
	OutageStale               // any copy within its life, else ErrRemote
)

// WriteBehind makes [Cache.Set] return before Save ran. A crash loses at most the
// MaxPending values of the last Delay. This node serves an unsaved value whatever
// happens to the layers; another one that has lost it, since somebody invalidated
// it or the Remote had no room, loads and keeps what the source still has.
type WriteBehind struct {
	Delay      time.Duration // from the first unsaved Set of a batch to Save. Zero means write-through.
	MaxBatch   int           // keys per Save. Zero means 100.
	MaxPending int           // unsaved keys, at which Set waits: nothing is dropped. Zero means 10000.
}

// validate finds the first field that is contradictory or out of range.
func (c *Config[K, V]) validate() error {
	p, w := &c.Policy, &c.WriteBehind
	switch {
	case c.Weigh == nil && c.MaxWeight > 0:
		return fmt.Errorf("cache: Config.Weigh is nil, MaxWeight %d needs it", c.MaxWeight)
	case c.Weigh != nil && c.MaxWeight == 0:
		return fmt.Errorf("cache: Config.MaxWeight is 0, Weigh needs it")
	case c.Remote != nil && c.Bus == nil:
		return fmt.Errorf("cache: Config.Bus is nil, Remote needs it")
	case w.Delay > 0 && c.Save == nil:
		return fmt.Errorf("cache: Config.Save is nil, WriteBehind.Delay %v needs it", w.Delay)
	case p.Outage > OutageStale:
		return fmt.Errorf("cache: Policy.Outage is %d, OutageLoad, OutageFail and OutageStale are allowed", p.Outage)
	case !(p.Jitter >= 0 && p.Jitter <= 1):
		return fmt.Errorf("cache: Policy.Jitter is %v, 0 to 1 is allowed", p.Jitter)
	case !(p.Early >= 0 && p.Early <= maxEarly):
		return fmt.Errorf("cache: Policy.Early is %v, 0 to %d is allowed", p.Early, maxEarly)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Config.MaxEntries", int64(c.MaxEntries)},
		{"Config.MaxWeight", c.MaxWeight},
		{"Config.RemoteTimeout", int64(c.RemoteTimeout)},
		{"Config.ClockStep", int64(c.ClockStep)},
		{"Policy.Stale", int64(p.Stale)},
		{"Policy.StaleIfError", int64(p.StaleIfError)},
		{"Policy.NotFoundTTL", int64(p.NotFoundTTL)},
		{"Policy.LocalTTL", int64(p.LocalTTL)},
		{"Policy.SoftTimeout", int64(p.SoftTimeout)},
		{"Policy.LoadTimeout", int64(p.LoadTimeout)},
		{"WriteBehind.Delay", int64(w.Delay)},
		{"WriteBehind.MaxBatch", int64(w.MaxBatch)},
		{"WriteBehind.MaxPending", int64(w.MaxPending)},
	} {
		if f.value < 0 {
			return fmt.Errorf("cache: %s is %d, it must not be negative", f.name, f.value)
		}
	}
	if c.Key == nil && c.Bus != nil && !namable(reflect.TypeFor[K]()) {
		return fmt.Errorf("cache: Config.Key is nil, keys of type %v need it with a Bus", reflect.TypeFor[K]())
	}
	return nil
}

// maxEarly keeps the arithmetic of XFetch finite.
const maxEarly = 1000

// complete puts the defaults in place of zeros.
func (c *Config[K, V]) complete() {
	p, w := &c.Policy, &c.WriteBehind
	if c.MaxEntries == 0 && c.MaxWeight == 0 {
		c.MaxEntries = 10000
	}
	orDefault(&c.MaxLag, 5*time.Second)
	orDefault(&c.RemoteTimeout, 250*time.Millisecond)
	orDefault(&c.OutageLoads, 64)
	orDefault(&p.LoadTimeout, 10*time.Second)
	orDefault(&p.RetryAfter, time.Second)
	orDefault(&w.MaxBatch, 100)
	orDefault(&w.MaxPending, 10000)
	if p.SoftTimeout >= p.LoadTimeout {
		p.SoftTimeout = 0 // it says the same
	}
	p.Tags = slices.Clone(p.Tags) // entries share it
	if c.Remote != nil && c.Codec == nil {
		c.Codec = defaultCodec[V]()
	}
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// loads tells whether there is a source to ask.
func (c *Config[K, V]) loads() bool { return c.Load != nil || c.LoadMany != nil || c.LoadEntry != nil }
