package eventsql

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// request is an append on its way to the database.
type request struct {
	rows    []row
	conds   []eventsource.Condition
	streams []string // the distinct ones that rows are in
	check   bool     // some of the ids may be known
	lost    bool     // it was sent before, and nobody knows what became of it
	size    int      // bytes, about
}

// row is an event with its id, ready to be stored.
type row struct {
	id, typ    string
	given      bool // the id is the caller's
	owner      int  // number of its stream in streams from 1; 0 is none
	nth        int  // 1, 2, 3 ... among the rows of that stream
	schema     int
	tags       []string // without repeats
	tagsJSON   string   // "" for none
	metaJSON   string   // "" for none
	data       []byte
	streamName string
}

// newRequest makes the ids that the caller left out: before anything is sent,
// so that it can be sent once more.
func newRequest(events []eventsource.Event, conds []eventsource.Condition) (*request, error) {
	r := &request{rows: make([]row, len(events)), conds: conds}
	written := written{}
	for i := range events {
		e := &events[i]
		x := &r.rows[i]
		*x = row{id: e.ID, typ: e.Type, given: e.ID != "", schema: max(1, e.Schema), data: e.Data, streamName: e.Stream}
		if x.given {
			r.check = true
		} else {
			x.id = id.New().String()
		}
		if e.Stream != "" {
			x.owner, x.nth = written.add(r, e.Stream)
		}
		if err := x.encode(e); err != nil {
			return nil, err
		}
		r.size += len(x.data) + len(x.tagsJSON) + len(x.metaJSON) + len(x.typ) + len(x.streamName) + 100
	}
	return r, nil
}

func (x *row) encode(e *eventsource.Event) error {
	for _, tag := range e.Tags {
		if !slices.Contains(x.tags, tag) {
			x.tags = append(x.tags, tag)
		}
	}
	if len(x.tags) > 0 {
		b, err := json.Marshal(x.tags)
		if err != nil {
			return err
		}
		x.tagsJSON = string(b)
	}
	if len(e.Meta) > 0 {
		b, err := json.Marshal(e.Meta)
		if err != nil {
			return err
		}
		x.metaJSON = string(b)
	}
	return nil
}

// written numbers the streams of a request, and the rows in each.
type written map[string]*[2]int

func (w written) add(r *request, stream string) (owner, nth int) {
	if len(r.rows) == 1 { // most appends: no map
		r.streams = []string{stream}
		return 1, 1
	}
	at := w[stream]
	if at == nil {
		r.streams = append(r.streams, stream)
		at = &[2]int{len(r.streams), 0}
		w[stream] = at
	}
	at[1]++
	return at[0], at[1]
}

// own copies what still is the caller's memory: a queued request outlives its
// call if the caller gives up.
func (r *request) own() {
	data := make([]byte, 0, r.size)
	for i := range r.rows {
		from := len(data)
		data = append(data, r.rows[i].data...)
		r.rows[i].data = data[from:len(data):len(data)]
	}
	r.conds = slices.Clone(r.conds)
	for i, c := range r.conds {
		if q, after, ok := c.NoneSince(); ok {
			r.conds[i] = eventsource.NoneSince(cloneQuery(q), after)
		}
	}
}

func cloneQuery(q eventsource.Query) eventsource.Query {
	q = slices.Clone(q)
	for i, it := range q {
		q[i] = eventsource.Item{Streams: slices.Clone(it.Streams), Types: slices.Clone(it.Types), Tags: slices.Clone(it.Tags)}
	}
	return q
}

// harmless tells whether sending r again cannot do anything twice: its ids
// tell, or it writes nothing.
func (r *request) harmless() bool {
	return len(r.rows) > 0 || !slices.ContainsFunc(r.conds, func(c eventsource.Condition) bool {
		_, _, tracks := c.Track()
		return tracks
	})
}

// given tells whether an id is the caller's.
func (r *request) given() bool {
	return slices.ContainsFunc(r.rows, func(x row) bool { return x.given })
}

// event is what a query of a condition sees of a row.
func (x *row) event() eventsource.Event {
	return eventsource.Event{ID: x.id, Stream: x.streamName, Type: x.typ, Tags: x.tags}
}

// payload is all data in one piece.
func (r *request) payload() []byte {
	if len(r.rows) == 1 && r.rows[0].data != nil {
		return r.rows[0].data
	}
	var b bytes.Buffer
	for i := range r.rows {
		b.Write(r.rows[i].data)
	}
	if b.Len() == 0 {
		return []byte{} // nil would be NULL
	}
	return b.Bytes()
}
