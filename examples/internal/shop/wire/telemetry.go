package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/retry"
)

// Record is one line of telemetry. Data depends on Kind: a BreakerEvent, a
// RetryEvent, the service's Stats, or what a service has told by Node.Tell.
type Record struct {
	Kind    string          `json:"kind"` // "breaker" "retry" "stats" "saga" "event"
	Service string          `json:"service"`
	At      time.Time       `json:"at"`
	Data    json.RawMessage `json:"data"`
}

// BreakerEvent is a breaker.Event in words: what goes over a wire is a format, and
// must not change because a constant of the library does.
type BreakerEvent struct {
	Name    string  `json:"name"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Reason  string  `json:"reason"`
	Cause   string  `json:"cause,omitempty"`
	OpenMs  float64 `json:"openMs,omitempty"`
	Calls   uint64  `json:"calls"`
	Failed  uint64  `json:"failures"`
	Overdue uint64  `json:"overdue,omitempty"`
}

// RetryEvent is a retry.Event in words.
type RetryEvent struct {
	Name    string  `json:"name"` // caller/callee
	N       int     `json:"n"`
	Last    bool    `json:"last"`
	Err     string  `json:"err,omitempty"`
	DelayMs float64 `json:"delayMs,omitempty"`
}

// Stats is what a service tells of itself, also at GET /stats. Totals and no rates:
// whoever asks twice has the rate over the span of his choice.
type Stats struct {
	Requests uint64                     `json:"requests"`
	Errors   uint64                     `json:"errors"` // answers of 500 and above, and cut connections
	InFlight int64                      `json:"inflight"`
	Dropped  uint64                     `json:"dropped"` // telemetry records
	Breakers map[string]json.RawMessage `json:"breakers"`
	Retry    map[string]RetryStats      `json:"retry"`
	Sections map[string]json.RawMessage `json:"sections,omitempty"` // what the service tells besides, such as sagas and lag
	Stirred  uint64                     `json:"stirred"`            // grows while the service is at work, and rests with it
}

// RetryStats counts the calls of one client: what was asked for, and how many
// tries that took. A refused call makes no try.
type RetryStats struct {
	Requests  uint64  `json:"requests"`
	Attempts  uint64  `json:"attempts"`
	Denied    uint64  `json:"denied"`    // retries that the budget refused
	Available float64 `json:"available"` // retries that it would allow now
}

const (
	pushEvery   = 100 * time.Millisecond // as often as the page is drawn, while there is work
	linger      = time.Second            // that goes on for so long after the last of it
	maxRecords  = 1024                   // kept
	maxBatch    = 64                     // sent at once
	pushTimeout = time.Second
)

// telemetry collects records and pushes them to control in batches. Adding one
// takes a lock and no I/O, so a request never waits for the collector; when the
// ring is full the oldest record goes, and the loss is counted.
type telemetry struct {
	service, url, secret string
	client               *http.Client
	stats                func() Stats

	stirred atomic.Uint64
	work    chan struct{} // holds a token once there is some

	mu      sync.Mutex
	records []Record
	dropped uint64

	last     []byte // the statistics that were told last, and when
	lastTold time.Time
}

// stir says that something has happened, or is under way, that a page wants to see
// soon. On a nil t, which is a node without a collector, it does nothing; nor does add.
func (t *telemetry) stir() {
	if t == nil {
		return
	}
	t.stirred.Add(1)
	select {
	case t.work <- struct{}{}:
	default:
	}
}

// addStats records the statistics, if they are news: the collector knows what it was
// told, and wants a sign of life now and then.
func (t *telemetry) addStats() {
	s := t.stats()
	raw, err := json.Marshal(s)
	if err == nil && bytes.Equal(raw, t.last) && time.Since(t.lastTold) < linger {
		return
	}
	t.last, t.lastTold = raw, time.Now()
	t.record("stats", t.lastTold, json.RawMessage(raw))
}

// add records data, which is news.
func (t *telemetry) add(kind string, at time.Time, data any) {
	if t == nil {
		return
	}
	t.record(kind, at, data)
	t.stir()
}

func (t *telemetry) record(kind string, at time.Time, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		panic("wire: telemetry that is no JSON: " + err.Error()) // a bug: all types are our own
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// The oldest goes, since what happens now explains the present state better than
	// what happened before the collector went away.
	if len(t.records) == maxRecords {
		t.records = t.records[1:]
		t.dropped++
	}
	t.records = append(t.records, Record{Kind: kind, Service: t.service, At: at, Data: raw})
}

// stirs is how often it was stirred.
func (t *telemetry) stirs() uint64 {
	if t == nil {
		return 0
	}
	return t.stirred.Load()
}

// lost is the number of records that nobody will ever see.
func (t *telemetry) lost() uint64 {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// run pushes until ctx ends, and then once more: the last event of a service is
// often the one that explains its end. While there is work it pushes ten times a
// second, and otherwise so rarely that eleven services at rest cost next to nothing.
func (t *telemetry) run(ctx context.Context) {
	defer t.client.CloseIdleConnections()
	for worked := time.Now(); ; {
		work := time.Since(worked) < linger
		if !work && t.rest(ctx) {
			worked, work = time.Now(), true
		}
		if work {
			sleep(ctx, pushEvery) // what comes together is told together
		}
		if ctx.Err() != nil {
			t.push(context.WithoutCancel(ctx)) // ended is ctx, but not the wish to be heard
			return
		}
		select {
		case <-t.work:
			worked = time.Now()
		default:
		}
		t.push(ctx)
	}
}

// rest returns when there is work, or with false when it is time for a sign of life.
func (t *telemetry) rest(ctx context.Context) (work bool) {
	timer := time.NewTimer(Beat())
	defer timer.Stop()
	select {
	case <-t.work:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// push sends what there is, in batches: while the collector is gone each round
// tries one small batch, not all that has gathered.
func (t *telemetry) push(ctx context.Context) {
	t.addStats()
	for {
		batch := t.take()
		if len(batch) == 0 {
			return
		}
		if t.send(ctx, batch) != nil {
			t.putBack(batch)
			return
		}
	}
}

// take removes the oldest records, one batch at most.
func (t *telemetry) take() []Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.records), maxBatch)
	batch := t.records[:n:n] // capped: what is added to it later must not overwrite the rest
	t.records = t.records[n:]
	return batch
}

// putBack puts what could not be sent in front again, within the ring's bound.
func (t *telemetry) putBack(batch []Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := append(batch, t.records...)
	if over := len(all) - maxRecords; over > 0 {
		t.dropped += uint64(over)
		all = all[over:]
	}
	t.records = all
}

// send posts a batch, a record per line, within a second. It takes no part in the
// chain of clients: a collector that is out must not appear on the page as one
// more breaker, which it could not show.
func (t *telemetry) send(ctx context.Context, batch []Record) error {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, r := range batch {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, &body)
	if err != nil {
		return err
	}
	req.Header.Set(HeaderSecret, t.secret)
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body) // the connection is used again only once it has been read
	if resp.StatusCode != http.StatusNoContent {
		// The collector is there and does not want it. Sent again it would be
		// refused again, and hold up what comes behind it for ever.
		t.mu.Lock()
		t.dropped += uint64(len(batch))
		t.mu.Unlock()
	}
	return resp.Body.Close()
}

func breakerEvent(e breaker.Event) BreakerEvent {
	out := BreakerEvent{
		Name: e.Name, From: e.From.String(), To: e.To.String(), Reason: e.Reason, OpenMs: millis(e.OpenFor),
		Calls: e.Stats.Calls, Failed: e.Stats.Failures, Overdue: e.Stats.Overdue,
	}
	if e.Cause != nil {
		out.Cause = e.Cause.Error()
	}
	return out
}

func retryEvent(name string, e retry.Event) RetryEvent {
	out := RetryEvent{Name: name, N: e.N, Last: e.Last, DelayMs: millis(e.Delay)}
	if e.Err != nil {
		out.Err = e.Err.Error()
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
