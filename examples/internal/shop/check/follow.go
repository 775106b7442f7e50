package check

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// follower reads a service's log where it left off.
type follower struct {
	service string
	after   string            // position
	streams map[string]uint64 // the last version, by stream
	forgot  bool              // some that there are are not in streams
	gap     string            // the first that was seen, in words
}

// maxStreams bounds what is remembered of a log.
const maxStreams = 20_000

// pageLines is how many events one read asks for.
const pageLines = 500

// follow reads what has been logged since the last time, of every service.
func (c *Checker) follow(ctx context.Context) error {
	var errs []error
	for _, f := range c.logs {
		errs = append(errs, c.followOne(ctx, f))
	}
	return errors.Join(errs...)
}

func (c *Checker) followOne(ctx context.Context, f *follower) error {
	for {
		path := fmt.Sprintf("/log?limit=%d", pageLines)
		if f.after != "" {
			path += "&after=" + f.after
		}
		n, err := c.followPage(ctx, f, path)
		if err != nil || n < pageLines {
			return err
		}
	}
}

func (c *Checker) followPage(ctx context.Context, f *follower, path string) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := c.get(ctx, f.service, path)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return n, fmt.Errorf("%s/log: %w", f.service, err)
		}
		f.see(e)
		c.ledger.apply(f.service, e, time.Now())
	}
	return n, lines.Err()
}

// event is a line of GET /log.
type event struct {
	Position string `json:"position"`
	Stream   string `json:"stream"`
	Version  uint64 `json:"version"`
	Type     string `json:"type"`
}

// see checks that the stream goes on where it was.
func (f *follower) see(e event) {
	f.after = e.Position
	if e.Stream == "" || e.Version == 0 { // not every store counts
		return
	}
	if len(f.streams) >= maxStreams { // from here on a stream that is not known may go on anywhere
		f.streams, f.forgot = nil, true
	}
	if f.streams == nil {
		f.streams = map[string]uint64{}
	}
	last, known := f.streams[e.Stream]
	if e.Version != last+1 && (known || !f.forgot) && f.gap == "" {
		f.gap = fmt.Sprintf("%s: stream %s goes from version %d to %d", f.service, e.Stream, last, e.Version)
	}
	f.streams[e.Stream] = e.Version
}
