package wire

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
)

// View is the part of one log that belongs to one module: its streams, tags, ids and
// checkpoints bear its name, and it sees no others. In a monolith all modules share a
// log, so that an append can span them; what a module does by itself stays its own.
type View struct {
	log  Events
	name string // ends in a slash
}

// NewView returns the view of a module on log.
func NewView(log Events, module string) *View { return &View{log, module + "/"} }

func (v *View) named(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = v.name + name
	}
	return out
}

// mark is a tag of all events of the module.
func (v *View) mark() string { return v.name }

// Translate returns events and conditions as the log has them: for an append that
// spans several modules.
func (v *View) Translate(events []eventsource.Event, conds []eventsource.Condition) ([]eventsource.Event, []eventsource.Condition) {
	out := slices.Clone(events)
	for i, e := range out {
		out[i].Tags = append(v.named(e.Tags), v.mark())
		if e.Stream != "" {
			out[i].Stream = v.name + e.Stream
		}
		if e.ID != "" {
			out[i].ID = v.name + e.ID
		}
	}
	translated := make([]eventsource.Condition, len(conds))
	for i, c := range conds {
		translated[i] = v.condition(c)
	}
	return out, translated
}

func (v *View) condition(c eventsource.Condition) eventsource.Condition {
	if stream, version, ok := c.Version(); ok {
		return eventsource.AtVersion(v.name+stream, version)
	}
	if stream, ok := c.Exists(); ok {
		return eventsource.Exists(v.name + stream)
	}
	if q, after, ok := c.NoneSince(); ok {
		return eventsource.NoneSince(v.query(q), after)
	}
	source, p, _ := c.Track()
	return eventsource.Track(v.name+source, p)
}

func (v *View) query(q eventsource.Query) eventsource.Query {
	out := make(eventsource.Query, len(q))
	for i, item := range q {
		out[i] = eventsource.Item{
			Streams: v.named(item.Streams), IDs: v.named(item.IDs), Types: item.Types, Tags: append(v.named(item.Tags), v.mark()),
		}
	}
	return out
}

// Append implements eventsource.Store.
func (v *View) Append(ctx context.Context, events []eventsource.Event, conds ...eventsource.Condition) (eventsource.Result, error) {
	events, conds = v.Translate(events, conds)
	return v.log.Append(ctx, events, conds...)
}

// Read implements eventsource.Store.
func (v *View) Read(ctx context.Context, q eventsource.Query, o eventsource.ReadOptions) iter.Seq2[eventsource.Recorded, error] {
	return func(yield func(eventsource.Recorded, error) bool) {
		for r, err := range v.log.Read(ctx, v.query(q), o) {
			r.ID, r.Stream = strings.TrimPrefix(r.ID, v.name), strings.TrimPrefix(r.Stream, v.name)
			tags := r.Tags[:0]
			for _, tag := range r.Tags {
				if tag != v.mark() {
					tags = append(tags, strings.TrimPrefix(tag, v.name))
				}
			}
			r.Tags = tags
			if !yield(r, err) {
				return
			}
		}
	}
}

// Head implements eventsource.Store.
func (v *View) Head(ctx context.Context) (eventsource.Position, error) { return v.log.Head(ctx) }

// Wait implements eventsource.Store.
func (v *View) Wait(ctx context.Context, after eventsource.Position) error {
	return v.log.Wait(ctx, after)
}

// LoadCheckpoint implements eventsource.Checkpoints.
func (v *View) LoadCheckpoint(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	return v.log.LoadCheckpoint(ctx, v.name+name)
}

// SaveCheckpoint implements eventsource.Checkpoints.
func (v *View) SaveCheckpoint(ctx context.Context, name string, old, next eventsource.Checkpoint, apply func(context.Context) error) error {
	return v.log.SaveCheckpoint(ctx, v.name+name, old, next, apply)
}
