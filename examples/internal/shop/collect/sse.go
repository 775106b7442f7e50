package collect

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

const (
	writeLimit = 2 * time.Second  // per write; a client that takes longer is gone
	keepAlive  = 10 * time.Second // a comment, so that a dead connection shows
)

// ServeHTTP is the stream of server-sent events: all kinds on one connection,
// since a browser opens six per host and the seventh tab would hang.
//
// The server's WriteTimeout must not bound the stream, and a client that has
// stopped reading must not keep it: each write has a deadline of its own.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// No "retry:" line: the few seconds that a browser waits by itself are right for
	// a shop that has been stopped, and one that runs is not left.
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	c := h.Join(r.Header.Get("Last-Event-ID"))
	defer c.Leave()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		var out []byte
		select {
		case <-r.Context().Done():
			return
		case <-c.Done():
			return
		case <-alive.C:
			out = []byte(": still here\n\n")
		case <-c.Wake():
			frames, err := c.Take()
			if err != nil {
				return
			}
			out = h.format(frames)
		}
		if !write(rc, w, out) {
			return
		}
	}
}

// format writes frames as events. Data is JSON on one line, so it cannot
// contain the line breaks that would end an event early.
func (h *Hub) format(frames []Frame) []byte {
	var b bytes.Buffer
	for _, f := range frames {
		fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", h.ID(f), f.Kind, f.Data)
	}
	return b.Bytes()
}

// write sends b at once and reports whether the client is still there. A
// failure is not told to anybody: leaving is what clients do.
func write(rc *http.ResponseController, w http.ResponseWriter, b []byte) bool {
	if rc.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
		return false
	}
	if _, err := w.Write(b); err != nil {
		return false
	}
	return rc.Flush() == nil
}
