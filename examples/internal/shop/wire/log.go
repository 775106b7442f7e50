package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// HeaderPosition is, on answers of /log, the position up to which they go.
const HeaderPosition = "X-Position"

// namedLog is a log of the node that GET /log shows.
type namedLog struct {
	part   string
	events Events
}

// LogLine is one event as GET /log gives it, a line each. Positions are text, as
// JavaScript has no whole numbers beyond 2^53.
type LogLine struct {
	Position eventsource.Position `json:"position,string"`
	Stream   string               `json:"stream,omitempty"`
	Version  uint64               `json:"version,omitempty"`
	Type     string               `json:"type"`
	ID       string               `json:"id"`
	Time     time.Time            `json:"time"`
	Tags     []string             `json:"tags,omitempty"`
	Data     json.RawMessage      `json:"data"`
}

const (
	maxLines = 500
	maxWait  = 2 * time.Second // below every deadline, so that a long poll ends by itself
)

// showLog answers GET /log?part=&after=&limit=&wait= with the node's own events.
// With wait it answers when there is something, or the time is over.
func (n *Node) showLog(w http.ResponseWriter, r *http.Request) error {
	events, err := n.logOf(r)
	if err != nil {
		return err
	}
	after, err := Number(r, "after", 0)
	if err != nil {
		return err
	}
	limit, err := Number(r, "limit", maxLines)
	if err != nil {
		return err
	}
	if err := waitBeyond(r, events, eventsource.Position(after)); err != nil {
		return err
	}
	head, err := events.Head(r.Context())
	if err != nil {
		return err
	}
	o := eventsource.ReadOptions{After: eventsource.Position(after), UpTo: head, Limit: min(limit, maxLines)}
	lines := []LogLine{}
	if uint64(after) < uint64(head) && o.Limit > 0 {
		for e, err := range events.Read(r.Context(), eventsource.All(), o) {
			if err != nil {
				return err
			}
			lines = append(lines, Line(e))
		}
	}
	through := head
	if len(lines) == o.Limit && o.Limit > 0 {
		through = lines[len(lines)-1].Position
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set(HeaderPosition, strconv.FormatUint(uint64(through), 10))
	enc := json.NewEncoder(w)
	for _, line := range lines {
		_ = enc.Encode(line) // as in WriteProblem
	}
	return nil
}

// Line is an event as /log shows it.
func Line(e eventsource.Recorded) LogLine {
	data := e.Data
	if len(data) == 0 {
		data = []byte("null")
	}
	return LogLine{
		Position: e.Position, Stream: e.Stream, Version: e.Version, Type: e.Type, ID: e.ID, Time: e.Time, Tags: e.Tags,
		Data: json.RawMessage(data),
	}
}

// ReadLog reads an answer of GET /log: the events as they were appended, ids and all.
func ReadLog(body []byte) (events []eventsource.Event, err error) {
	for line := range bytes.Lines(body) {
		var l LogLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, err
		}
		events = append(events, eventsource.Event{ID: l.ID, Stream: l.Stream, Type: l.Type, Tags: l.Tags, Data: l.Data})
	}
	return events, nil
}

// logOf is the log that is asked for: the first one without ?part=.
func (n *Node) logOf(r *http.Request) (Events, error) {
	part := r.URL.Query().Get("part")
	for _, l := range n.logs {
		if part == "" || l.part == part {
			return l.events, nil
		}
	}
	return nil, NewProblem(http.StatusNotFound, "not-found", "no such path")
}

// waitBeyond waits, as long as ?wait= says, for an event after the position.
func waitBeyond(r *http.Request, events Events, after eventsource.Position) error {
	wait, err := Duration(r, "wait")
	if err != nil || wait == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
	defer cancel()
	if err := events.Wait(ctx, after); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Number reads a query parameter; what is absent has its default.
func Number(r *http.Request, name string, absent int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, Invalid(name+" must be a number from 0", name)
	}
	return n, nil
}

// Duration reads a query parameter such as 2s; absent is zero.
func Duration(r *http.Request, name string) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, Invalid(name+" must be a duration, such as 300ms or 2s", name)
	}
	return d, nil
}

// Decided tells whether an append was refused because of a condition behind that of
// the scope's own history: the stream of the order is there, so it has been decided
// about before, one way or the other.
func Decided(err error) bool {
	c, ok := errors.AsType[*eventsource.ConflictError](err)
	return ok && c.Index > 0
}
