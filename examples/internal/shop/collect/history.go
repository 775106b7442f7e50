package collect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// prior is what a breaker's totals were, oldest first; the charts show differences over
// one second.
type prior []breakerTotals

// breakerTotals is the part of a breaker's statistics that the charts need. All
// of them grow only, until the service is restarted.
type breakerTotals struct {
	at                                   time.Time
	State                                string
	Succeeded, Failed, Ignored, Rejected uint64
	retry                                wire.RetryStats
}

// reading is what a breaker's statistics say, kept because most of them say the same as
// the last time.
type reading struct {
	raw    json.RawMessage
	totals breakerTotals
}

// totals reads a breaker's statistics; the caller holds mu.
func (c *Collector) totals(name string, raw json.RawMessage) (breakerTotals, bool) {
	r := c.read[name]
	if !bytes.Equal(r.raw, raw) {
		r = reading{raw: raw}
		if json.Unmarshal(raw, &r.totals) != nil {
			return r.totals, false
		}
		c.read[name] = r
	}
	return r.totals, true
}

// before reports whether a total is lower than in t.
func (b breakerTotals) before(t breakerTotals) bool {
	return b.Succeeded < t.Succeeded || b.Failed < t.Failed || b.Ignored < t.Ignored || b.Rejected < t.Rejected
}

// addPoint takes one sample for the charts and keeps it.
//
// Points are taken here and not on the page, so that two pages show the same curve
// and one that is opened late has the past as well.
func (c *Collector) addPoint() Point {
	p := Point{
		At: time.Now().UnixMilli(), Ops: opPoints(c.config.Load), Breakers: map[string]BreakerPoint{},
		Services: map[string]float64{}, Faults: []string{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		p.Faults = append(p.Faults, f.Target+" "+string(f.Kind))
	}
	for name, src := range c.services {
		if src.State == "stopped" { // its last word is no longer true
			p.Services[name] = 0
			p.Faults = append(p.Faults, name+" stopped")
			continue
		}
		p.Services[name] = src.lastSecond()
		for breaker, raw := range src.stats.Breakers {
			if now, ok := c.totals(breaker, raw); ok {
				now.retry, now.at = src.stats.Retry[breaker], time.Now()
				p.Breakers[breaker] = c.rates(breaker, now)
			}
		}
	}
	c.points = appendBounded(c.points, p, keepPoints)
	for p.At-c.points[0].At > keepFor.Milliseconds() {
		c.points = slices.Delete(c.points, 0, 1)
	}
	return p
}

// rates compares now with the totals of one second ago; the caller holds mu. The
// services send totals and no rates, so that a lost batch costs a point of a chart
// and not a call.
func (c *Collector) rates(name string, now breakerTotals) BreakerPoint {
	past := c.prior[name]
	if n := len(past); n > 0 && now.before(past[n-1]) {
		past = nil // a restarted service counts from zero
	}
	out := BreakerPoint{State: now.State}
	if len(past) > 0 {
		then := past[0]
		// In the first second there is no sample that old.
		per := 1 / max(now.at.Sub(then.at), time.Millisecond).Seconds()
		out.Passed = float64(now.Succeeded-then.Succeeded) * per
		out.Failed = float64(now.Failed-then.Failed) * per
		out.Ignored = float64(now.Ignored-then.Ignored) * per
		out.Rejected = float64(now.Rejected-then.Rejected) * per
		if asked := now.retry.Requests - then.retry.Requests; asked > 0 {
			out.Tries = float64(now.retry.Attempts-then.retry.Attempts) / float64(asked)
		}
	}
	past = append(past, now)
	for len(past) > 1 && now.at.Sub(past[1].at) > time.Second-pointEvery-stateEvery {
		past = slices.Delete(past, 0, 1) // the first that is left will be a second old at the next point
	}
	c.prior[name] = past
	return out
}

// lastSecond is the rate over about the last second; the collector's lock is held.
func (s *source) lastSecond() float64 {
	if len(s.history) < 2 {
		return 0
	}
	last := s.history[len(s.history)-1]
	first := len(s.history) - 2
	for first > 0 && last.at.Sub(s.history[first].at) < time.Second {
		first--
	}
	return rate(s.history[first], last)
}

// snapshot is what a page starts with: the state and the last two minutes. A page
// that begins with an empty chart would tell its visitor to come back later.
func (c *Collector) snapshot() ([]byte, error) {
	state := c.State()
	c.mu.Lock()
	out := struct {
		State  State                    `json:"state"`
		Points []Point                  `json:"points"`
		Moves  []wire.Record            `json:"moves"`
		News   []News                   `json:"news"`
		Tails  map[string][]wire.Record `json:"tails"` // the last of each kind
	}{state, slices.Clone(c.points), slices.Clone(c.moves), slices.Clone(c.news), map[string][]wire.Record{}}
	for kind, t := range c.tails {
		out.Tails[kind] = slices.Clone(t.kept)
	}
	c.mu.Unlock()
	return json.Marshal(out)
}

// breakerLine tells a change of a breaker in one sentence.
func breakerLine(data json.RawMessage) string {
	var e wire.BreakerEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return "breaker event that cannot be read"
	}
	// Only the first opening has figures worth telling: what opens it again is one
	// probe.
	switch {
	case e.To == "open" && e.From == "closed":
		return fmt.Sprintf("%s opened: %d of %d calls failed (%s)", e.Name, e.Failed, e.Calls, e.Reason)
	case e.To == "open":
		return fmt.Sprintf("%s opened again: %s", e.Name, strings.ReplaceAll(e.Reason, "-", " "))
	case e.To == "half-open":
		return e.Name + " half-open: one call probes"
	default:
		return fmt.Sprintf("%s closed: %s", e.Name, e.Reason)
	}
}
