package shop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Preset sets every duration of the shop. It is one struct that is checked as a
// whole: durations only make sense beside each other, and one that is changed
// alone is how a health check comes to outlast its own interval.
type Preset struct {
	Name        string
	Wire        wire.Settings
	HealthEvery time.Duration // between two health checks of a service
	HealthLimit time.Duration // of one check
}

// presets are fast, which shows everything within seconds, and classic, with
// the values that textbooks use.
//
// In both, all tries of one call with their pauses fit into Composite, and that
// into Deadline: whoever is further out waits longer than whoever is further in,
// so that an answer "I have given up" still finds somebody who listens. With fast
// that is 3 x 300 + 75 ms below 1,200, with classic 2 x 3 s + 250 ms below 7 s.
//
// Ten calls at least, since half of two calls is a coincidence.
var presets = []Preset{
	{
		Name: "fast",
		Wire: wire.Settings{
			PerTry: 300 * time.Millisecond, Composite: 1200 * time.Millisecond, Deadline: 3 * time.Second,
			Attempts: 3, Pause: 25 * time.Millisecond,
			FailureRate: 0.5, MinCalls: 10, Window: 2 * time.Second, OpenFor: 2 * time.Second,
			SagaDeadline: 20 * time.Second, Lease: 2 * time.Second, Keep: 5 * time.Minute,
			QueryTTL: time.Second, LocalTTL: 5 * time.Second, SharedTTL: time.Minute,
		},
		HealthEvery: 500 * time.Millisecond, HealthLimit: 250 * time.Millisecond,
	},
	{
		Name: "classic",
		Wire: wire.Settings{
			PerTry: 3 * time.Second, Composite: 7 * time.Second, Deadline: 10 * time.Second,
			Attempts: 2, Pause: 250 * time.Millisecond,
			FailureRate: 0.5, MinCalls: 10, Window: 10 * time.Second, OpenFor: 30 * time.Second,
			SagaDeadline: 90 * time.Second, Lease: 10 * time.Second, Keep: 5 * time.Minute,
			QueryTTL: 5 * time.Second, LocalTTL: 30 * time.Second, SharedTTL: 10 * time.Minute,
		},
		HealthEvery: 10 * time.Second, HealthLimit: time.Second,
	},
}

// FindPreset returns the preset of that name.
func FindPreset(name string) (Preset, error) {
	for _, p := range presets {
		if p.Name == name {
			return p, p.Validate()
		}
	}
	return Preset{}, fmt.Errorf("no preset %q; there are: fast, classic", name)
}

// Validate returns an error that names the first relation that does not hold.
func (p Preset) Validate() error {
	if p.HealthLimit <= 0 || p.HealthLimit >= p.HealthEvery {
		return fmt.Errorf("preset %s: health limit %v must be positive and below the interval %v", p.Name, p.HealthLimit, p.HealthEvery)
	}
	if err := p.Wire.Validate(); err != nil {
		return fmt.Errorf("preset %s: %w", p.Name, err)
	}
	return nil
}

// sabotages break a pattern on purpose, to show that the checks see it. Some are a
// setting; the others the services ask for by Node.Sabotaged.
var sabotages = map[string]func(*Preset){
	// Off by a setting that the library has, not by leaving the breaker out: it
	// counts on, and the page shows what it would have opened at.
	"no-breaker":      func(p *Preset) { p.Wire.FailureRate = -1 },
	"no-budget":       func(*Preset) {}, // package wire: retries without end
	"no-compensation": func(*Preset) {}, // package orders: undos that do nothing
	"no-idempotency":  func(*Preset) {}, // payments and inventory: every repeat is another one
	"no-outbox":       func(*Preset) {}, // package wire: published once, in the hope that it arrives
}

// Sabotages are the names of what can be broken.
func Sabotages() []string { return slices.Sorted(maps.Keys(sabotages)) }

// Sabotage returns p with one pattern broken; the empty name breaks none.
func (p Preset) Sabotage(name string) (Preset, error) {
	if name == "" {
		return p, nil
	}
	breakIt, ok := sabotages[name]
	if !ok {
		return p, fmt.Errorf("no sabotage %q; there are: %s", name, strings.Join(Sabotages(), ", "))
	}
	breakIt(&p)
	return p, nil
}
