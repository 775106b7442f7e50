package eventsource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// Codec maps the Go types of the sum type E, an interface in most cases, to
// stored names and JSON. It is immutable, made once with [NewCodec], and safe
// for concurrent use.
//
// Stored events outlive the types: a field that JSON does not know is ignored,
// a changed layout or name needs an [Upcast], and a name that the codec does
// not know is [ErrUnknownType], never skipped.
type Codec[E any] struct {
	names   map[reflect.Type]*format // what Encode writes
	formats map[string]*format       // every name that Decode accepts
}

// A format is a stored name: one of a Go type, or an old one that upcasts lead
// away from.
type format struct {
	name    string
	schemas int          // layouts 1 to schemas are accepted, and the last is written
	typ     reflect.Type // nil for an old name
	pointer bool         // E holds a pointer to typ
	upcasts []Upcast     // of layout 1, 2, 3 ...
}

// NewCodec returns the codec for types, which maps each stored name to a sample
// of its Go type. A zero value is fine as a sample; a pointer, nil or not, makes
// events decode to pointers.
//
// It panics where two parts contradict each other: a type with two names, an
// upcast of an unknown name, a gap between schemas, two upcasts of one schema,
// a cycle of names, or a method EventTags that only the pointer has although
// the sample is no pointer, since Encode would lose those tags.
func NewCodec[E any](types map[string]E, upcasts ...Upcast) *Codec[E] {
	c := &Codec[E]{names: map[reflect.Type]*format{}, formats: map[string]*format{}}
	for name, sample := range types {
		c.add(name, sample)
	}
	c.addUpcasts(upcasts)
	return c
}

func (c *Codec[E]) add(name string, sample E) {
	t := reflect.TypeOf(sample)
	if err := badText("type name", name); err != nil || name == "" {
		panic(fmt.Sprintf("eventsource: NewCodec: %q is no type name: 1 to %d bytes of UTF-8 without NUL", name, maxText))
	}
	if t == nil {
		panic(fmt.Sprintf("eventsource: NewCodec: the sample of %q is nil", name))
	}
	if other := c.names[t]; other != nil {
		panic(fmt.Sprintf("eventsource: NewCodec: %v has two names, %q and %q; rename with Upcast.To", t, other.name, name))
	}
	if !t.Implements(tagger) && reflect.PointerTo(t).Implements(tagger) {
		panic(fmt.Sprintf("eventsource: NewCodec: EventTags of %v has a pointer receiver, but the sample of %q is no pointer", t, name))
	}
	f := &format{name: name, schemas: 1, typ: t}
	if t.Kind() == reflect.Pointer {
		f.typ, f.pointer = t.Elem(), true
	}
	c.names[t], c.formats[name] = f, f
}

var tagger = reflect.TypeFor[interface{ EventTags() []string }]()

// Encode returns e as an event with Type, the current Schema and Data, and with
// the tags of e's method EventTags() []string if it has one. A Go type that is
// not in the codec is [ErrUnknownType].
func (c *Codec[E]) Encode(e E) (Event, error) {
	f := c.names[reflect.TypeOf(e)]
	if f == nil {
		return Event{}, fmt.Errorf("%w: the codec has no name for %T", ErrUnknownType, e)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return Event{}, fmt.Errorf("eventsource: encode %s: %w", f.name, err)
	}
	event := Event{Type: f.name, Schema: f.schemas, Data: data}
	if t, ok := any(e).(interface{ EventTags() []string }); ok {
		event.Tags = t.EventTags()
	}
	return event, nil
}

// Decode returns the event that r holds, after the upcasts that its Type and
// Schema need. Schema 0 reads as 1. A name that the codec does not know, or a
// newer schema of a known one, is [ErrUnknownType].
//
// It costs one json.Unmarshal and an allocation for E to hold the result.
func (c *Codec[E]) Decode(r Recorded) (E, error) {
	e, err := c.decode(&r, nil)
	if err != nil {
		return e, fmt.Errorf("%w (%s)", err, place(&r))
	}
	return e, nil
}

// Types returns every name that Decode accepts, old ones too, sorted. It makes
// a query for what the codec knows: Item{Types: codec.Types()}.
func (c *Codec[E]) Types() []string {
	names := make([]string, 0, len(c.formats))
	for name := range c.formats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// scratch holds, for a loop of decodes, the variable that JSON is decoded into
// before its value moves to an E: one allocation less per event.
type scratch map[*format]reflect.Value

func (s scratch) variable(f *format) reflect.Value {
	v, found := s[f]
	switch {
	case found:
		v.Elem().SetZero()
	case s == nil || f.pointer: // E gets the variable itself
		return reflect.New(f.typ)
	default:
		v = reflect.New(f.typ)
		s[f] = v
	}
	return v
}

func (c *Codec[E]) decode(r *Recorded, s scratch) (e E, err error) {
	f, schema, data := c.formats[r.Type], max(r.Schema, 1), r.Data
	if f == nil {
		return e, fmt.Errorf("%w: %q", ErrUnknownType, r.Type)
	}
	if schema > f.schemas {
		return e, fmt.Errorf("%w: schema %d of %q, the newest here is %d", ErrUnknownType, schema, r.Type, f.schemas)
	}
	if schema <= len(f.upcasts) {
		// A copy: a Func that changes it against its doc must not change the store.
		if f, data, err = c.upcast(f, schema, bytes.Clone(data)); err != nil {
			return e, err
		}
	}
	v := s.variable(f)
	if err := json.Unmarshal(data, v.Interface()); err != nil {
		return e, fmt.Errorf("eventsource: decode %s: %w", f.name, err)
	}
	if !f.pointer {
		v = v.Elem()
	}
	return v.Interface().(E), nil
}

// place says where an event stands, for errors.
func place(r *Recorded) string {
	if r.Stream == "" {
		return fmt.Sprintf("position %d", r.Position)
	}
	return fmt.Sprintf("position %d, version %d of %q", r.Position, r.Version, r.Stream)
}
