package load

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"
)

// The types of a history's records. An answer that nobody got says nothing: what
// it was about may have happened or not.
const (
	Invoke  = "invoke"
	OK      = "ok"      // done, as the answer says
	Fail    = "fail"    // not done, for certain
	Unknown = "unknown" // no answer, or one that does not tell
)

// Record is one line of a history: a call when it begins, and again when it ends.
type Record struct {
	At      float64 `json:"at"` // ms since the load began
	Call    uint64  `json:"call"`
	Type    string  `json:"type"`
	Op      string  `json:"op"`
	User    int     `json:"user,omitempty"`
	Key     string  `json:"key,omitempty"`
	Order   string  `json:"order,omitempty"`
	Status  string  `json:"status,omitempty"` // of the order
	Code    int     `json:"code,omitempty"`   // of the answer
	Problem string  `json:"problem,omitempty"`
	SKU     string  `json:"sku,omitempty"`
	Version int64   `json:"version,omitempty"` // of the article
	Floor   int64   `json:"floor,omitempty"`   // on invoke: what this customer had been shown before
}

// history writes records. A nil one writes none. The first error ends it, and is
// what Flush reports: half a history proves nothing.
type history struct {
	start time.Time

	mu  sync.Mutex
	buf *bufio.Writer
	enc *json.Encoder
	err error
}

func newHistory(w io.Writer) *history {
	if w == nil {
		return nil
	}
	buf := bufio.NewWriter(w)
	return &history{start: time.Now(), buf: buf, enc: json.NewEncoder(buf)}
}

func (h *history) add(r Record) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r.At = float64(time.Since(h.start).Microseconds()) / 1000
	if h.err == nil {
		h.err = h.enc.Encode(r)
	}
}

func (h *history) flush() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = h.buf.Flush()
	}
	return h.err
}
