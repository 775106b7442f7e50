package collect

import (
	"encoding/json"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// State is the document of GET /state: every number of the page. Rates and
// percentiles are of the last ten seconds, counts since the start, times in ms.
type State struct {
	Run         string                     `json:"run"`
	Seq         uint64                     `json:"seq"`
	At          int64                      `json:"at"` // Unix ms, the clock of all times here
	Preset      string                     `json:"preset"`
	Mode        string                     `json:"mode"`
	Saga        string                     `json:"saga,omitempty"` // style
	Seed        uint64                     `json:"seed"`
	Sabotage    string                     `json:"sabotage,omitempty"`
	Switches    map[string]string          `json:"switches"`
	Faults      []Fault                    `json:"faults"`
	Scenario    Scenario                   `json:"scenario"`
	Lamps       map[string]Lamp            `json:"lamps"`
	Services    map[string]Service         `json:"services"`
	Breakers    map[string]json.RawMessage `json:"breakers"` // breaker.Stats and rate
	Retry       map[string]wire.RetryStats `json:"retry"`
	Cache       map[string]CacheLayer      `json:"cache"`       // by layer, summed over processes
	Lag         map[string]float64         `json:"lag"`         // ms, by projection
	Outbox      map[string]uint64          `json:"outbox"`      // events that wait to be published, by service
	Broker      map[string]Group           `json:"broker"`      // by TOPIC/GROUP
	Projections map[string]string          `json:"projections"` // position, by SERVICE/PROJECTION
	Dead        map[string]int             `json:"dead"`        // letters that lie there, by service
	Shards      Shards                     `json:"shards"`
	Sagas       Sagas                      `json:"sagas"`
	Calls       Calls                      `json:"calls"`
	Load        map[string]any             `json:"load"` // rps, behindMs, resent, mix, and an Op per operation
	Telemetry   struct {
		Dropped uint64 `json:"dropped"`
	} `json:"telemetry"`
}

// The states of a lamp.
const (
	LampOK      = "ok"
	LampBroken  = "broken"  // sticky
	LampUnknown = "unknown" // its source could not be read
)

// Lamp is an invariant and how it stands.
type Lamp struct {
	Status    string `json:"status"`
	Equation  string `json:"equation"`
	Detail    string `json:"detail"`    // both numbers, in words
	CheckedAt int64  `json:"checkedAt"` // Unix ms; 0 is never
}

// Calls are totals over all services, and what they make per order.
type Calls struct {
	Total    uint64  `json:"total"`    // requests between services
	PerOrder float64 `json:"perOrder"` // what one order has cost in calls of the order service, last 10 s
}

// CacheLayer counts the look-ups of one layer.
type CacheLayer struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	Stale  uint64 `json:"stale"`
	Loads  uint64 `json:"loads"`
}

// Group is one group of a topic.
type Group struct {
	Ready   int    `json:"ready"`
	Delayed int    `json:"delayed"`
	Dead    uint64 `json:"dead"` // letters, since the start
}

// Sagas are those of all coordinators.
type Sagas struct {
	Running      int     `json:"running"`
	Waiting      int     `json:"waiting"`
	Compensating int     `json:"compensating"`
	Stuck        int     `json:"stuck"`
	Completed    uint64  `json:"completed"`
	Compensated  uint64  `json:"compensated"`
	Abandoned    uint64  `json:"abandoned"`
	OldestMs     float64 `json:"oldestMs"` // of those that are not ended
}

// Unfinished is how many are neither ended nor stuck.
func (s Sagas) Unfinished() int { return s.Running + s.Waiting + s.Compensating }

// Fault is a rule in force.
type Fault struct {
	ID     string     `json:"id"`
	Target string     `json:"target"`
	Kind   fault.Kind `json:"kind"`
	Text   string     `json:"text"`  // as in a scenario
	Since  int64      `json:"since"` // Unix ms
}

// Scenario is the progress of the script that runs, or ran last.
type Scenario struct {
	Name     string    `json:"name"`
	Running  bool      `json:"running"`
	Line     string    `json:"line"` // what happened last
	Failed   int       `json:"failed"`
	Passed   int       `json:"passed"`
	Started  int64     `json:"started"` // Unix ms
	LengthS  float64   `json:"lengthS"` // seconds
	Outcomes []Outcome `json:"outcomes,omitempty"`
}

// Outcome is what became of one expectation of a scenario that has ended.
type Outcome struct {
	OK     bool    `json:"ok"`
	Text   string  `json:"text"`
	Wanted string  `json:"wanted"`
	Got    string  `json:"got"`
	At     float64 `json:"at"` // seconds since the start
}

// Service is one replica as control sees it.
type Service struct {
	State    string  `json:"state"` // "up", "failing" (health check), "stopped", "unknown"
	Addr     string  `json:"addr"`
	PID      int     `json:"pid"`
	RPS      float64 `json:"rps"`
	Errors   uint64  `json:"errors"`
	InFlight int64   `json:"inflight"`
}

// Op is one operation of the load.
type Op struct {
	Sent     uint64  `json:"sent"`
	OK       uint64  `json:"ok"`
	Fallback uint64  `json:"fallback"` // served with less, and said so
	Failed   uint64  `json:"failed"`   // all that were not served
	Refused  uint64  `json:"refused"`  // those of them that were told when to come back
	Broken   uint64  `json:"broken"`   // and those that got no answer the API names
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	P999     float64 `json:"p999"`
}

// Point is one sample of the charts: what the last second was like. Rates are
// per second; a latency is null when nothing ended.
type Point struct {
	At       int64                   `json:"at"` // Unix ms
	Ops      map[string]OpPoint      `json:"ops"`
	Breakers map[string]BreakerPoint `json:"breakers"`
	Services map[string]float64      `json:"services"` // requests that reached the service
	Faults   []string                `json:"faults"`   // in force, as "users blackhole"; a stopped service as "users stopped"
}

// OpPoint is one operation within a Point.
type OpPoint struct {
	OK       float64  `json:"ok"`
	Fallback float64  `json:"fallback"`
	Refused  float64  `json:"refused"`
	Failed   float64  `json:"failed"` // not served in any other way
	P50      *float64 `json:"p50"`
	P99      *float64 `json:"p99"`
}

// BreakerPoint is one breaker within a Point.
type BreakerPoint struct {
	State    string  `json:"state"`
	Passed   float64 `json:"passed"`   // calls that were let through and ended well
	Failed   float64 `json:"failed"`   // calls that were let through and failed
	Ignored  float64 `json:"ignored"`  // calls that were let through and say nothing about the callee
	Rejected float64 `json:"rejected"` // calls that were refused
	Tries    float64 `json:"tries"`    // per call that was asked for; 0 without any
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// loadState is the load section of the document.
func loadState(g *load.Generator) map[string]any {
	out := map[string]any{"rps": g.RPS(), "behindMs": ms(g.Behind()), "resent": g.Resent(), "mix": g.Mix()}
	recent := g.Recent(10 * time.Second)
	for op, t := range g.Totals() {
		r := recent[op]
		out[op] = Op{
			Sent: t.Sent, OK: t.OK, Fallback: t.Fallback, Failed: t.Unserved(), Refused: t.Refused, Broken: t.Broken,
			P50: ms(r.P50), P99: ms(r.P99), P999: ms(r.P999),
		}
	}
	return out
}

// opPoints is the load section of a Point.
func opPoints(g *load.Generator) map[string]OpPoint {
	out := map[string]OpPoint{}
	for op, r := range g.Recent(time.Second) {
		p := OpPoint{OK: float64(r.OK), Fallback: float64(r.Fallback), Refused: float64(r.Refused), Failed: float64(r.Failed + r.Broken)}
		if r.OK+r.Fallback+r.Unserved() > 0 {
			p50, p99 := ms(r.P50), ms(r.P99)
			p.P50, p.P99 = &p50, &p99
		}
		out[op] = p
	}
	return out
}
