package collect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	ringFrames   = 4096    // kept for those who come back
	ringBytes    = 4 << 20 // of data in them at most: half a minute under load
	clientFrames = 256     // that one client may lag behind
)

// Frame is one server-sent event.
type Frame struct {
	Seq  uint64
	Kind string
	Data []byte
}

// Hub hands every frame to every client, and never waits for one. A client that
// falls more than 256 frames behind loses the oldest and gets a snapshot in
// their place; the others do not notice. Safe for concurrent use.
type Hub struct {
	run      string                 // this run's name; ids of another run mean nothing here
	snapshot func() ([]byte, error) // what a client needs that has nothing yet

	mu      sync.Mutex
	seq     uint64
	ring    []Frame // the last frames in order, without fleeting ones
	size    int     // of the data in ring
	evicted uint64  // the highest sequence number that has left the ring
	clients map[*Client]struct{}
	closed  bool
}

// NewHub returns a hub whose frame ids begin with run. snapshot is called with
// no lock of the hub held.
func NewHub(run string, snapshot func() ([]byte, error)) *Hub {
	return &Hub{run: run, snapshot: snapshot, clients: map[*Client]struct{}{}}
}

// Publish sends data to all clients. A fleeting frame, such as the state that
// comes ten times a second, is out of date with its successor: it is not kept
// for those who come back.
func (h *Hub) Publish(kind string, data any, fleeting bool) {
	body, err := json.Marshal(data)
	if err != nil {
		panic("collect: frame that is no JSON: " + err.Error()) // a bug: all types are our own
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// Marshalled once for all clients, outside the lock; offered to all under it, so
	// that each sees the same order.
	h.seq++
	f := Frame{Seq: h.seq, Kind: kind, Data: body}
	if !fleeting {
		h.keep(f)
	}
	for c := range h.clients {
		c.offer(f)
	}
}

// Watched reports whether there is a client.
func (h *Hub) Watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients) > 0
}

// keep puts f into the ring. What leaves it is remembered by number alone: a
// client that has seen less than that cannot go on without a gap.
func (h *Hub) keep(f Frame) {
	old := 0
	for h.size += len(f.Data); old < len(h.ring) && (len(h.ring)-old >= ringFrames || h.size > ringBytes); old++ {
		h.evicted = h.ring[old].Seq
		h.size -= len(h.ring[old].Data)
	}
	h.ring = append(slices.Delete(h.ring, 0, old), f)
}

// Seq is the number of the last frame.
func (h *Hub) Seq() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

// Client is one reader of the stream.
type Client struct {
	hub  *Hub
	wake chan struct{} // holds one token when there is something to read
	done chan struct{} // closed with the hub

	// Guarded by hub.mu.
	backlog []Frame // what a client that has come back had missed; up to the whole ring
	queue   []Frame // what came since, at most 256
	resync  bool    // frames were lost, or were never had
}

// Join adds a client. lastID is the id of the last frame it has seen: if that is
// of this run and nothing since has left the ring, it goes on from there;
// otherwise it starts with a snapshot.
func (h *Hub) Join(lastID string) *Client {
	c := &Client{hub: h, wake: make(chan struct{}, 1), done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(c.done)
		return c
	}
	last, ok := h.parse(lastID)
	if ok && last >= h.evicted && last <= h.seq {
		first, _ := slices.BinarySearchFunc(h.ring, last+1, func(f Frame, seq uint64) int { return cmp.Compare(f.Seq, seq) })
		c.backlog = slices.Clone(h.ring[first:])
	} else {
		c.resync = true
	}
	c.signal()
	h.clients[c] = struct{}{}
	return c
}

// Leave removes the client.
func (c *Client) Leave() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	delete(c.hub.clients, c)
}

// offer queues f; the caller holds hub.mu.
func (c *Client) offer(f Frame) {
	if len(c.queue) == clientFrames {
		c.queue = slices.Delete(c.queue, 0, 1)
		c.resync = true
	}
	c.queue = append(c.queue, f)
	c.signal()
}

// signal leaves one token at most, since one Take fetches everything.
func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Wake has a token when Take has something to return; Done is closed when the
// hub is.
func (c *Client) Wake() <-chan struct{} { return c.wake }

// Done is closed when the hub is.
func (c *Client) Done() <-chan struct{} { return c.done }

// Take returns the frames to send now. After a loss that is one snapshot, which
// holds what was lost and what was queued.
func (c *Client) Take() ([]Frame, error) {
	c.hub.mu.Lock()
	frames, resync, seq := append(c.backlog, c.queue...), c.resync, c.hub.seq
	c.backlog, c.queue, c.resync = nil, nil, false
	c.hub.mu.Unlock()
	if !resync {
		return frames, nil
	}
	// Without the lock, as it takes a while. What happens meanwhile is in the
	// snapshot and comes again as a frame: twice is better than not at all, and a
	// page knows by time and name what it has.
	data, err := c.hub.snapshot()
	if err != nil {
		return nil, err
	}
	return []Frame{{Seq: seq, Kind: "snapshot", Data: data}}, nil
}

// ID is the frame's id on the wire, RUN-SEQ.
func (h *Hub) ID(f Frame) string { return fmt.Sprintf("%s-%d", h.run, f.Seq) }

// parse reads an id of this run. Another run's numbers look the same and mean
// other frames, hence the name in front.
func (h *Hub) parse(id string) (uint64, bool) {
	run, seq, ok := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	return n, ok && err == nil && run == h.run
}

// Close ends every client's stream.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	for c := range h.clients {
		close(c.done)
	}
}
