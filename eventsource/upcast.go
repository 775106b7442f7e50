package eventsource

import (
	"cmp"
	"fmt"
	"slices"
)

// Upcast brings stored bytes one step nearer to the present: from layout Schema
// of the stored name Type to Schema+1 of it, or to schema 1 of To, where that
// one's upcasts go on. The current schema of a type, which Encode writes, is 1
// plus the number of its upcasts. Nothing in the store changes.
type Upcast struct {
	// Type is the stored name, and Schema the layout, from 1, that are read.
	Type   string
	Schema int
	// To is the name that Type has now. It can only be in Type's last upcast, and
	// Type then has no Go type. Zero means that the name stays.
	To string
	// Func returns the new bytes. It must not modify data. Nil means that the
	// bytes stay as they are.
	Func func(data []byte) ([]byte, error)
}

// addUpcasts sorts upcasts by name and schema and panics on a contradiction.
func (c *Codec[E]) addUpcasts(upcasts []Upcast) {
	sorted := slices.Clone(upcasts)
	slices.SortStableFunc(sorted, func(a, b Upcast) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Schema, b.Schema))
	})
	for _, u := range sorted {
		f := c.formats[u.Type]
		if f == nil { // an old name, which one of its upcasts must lead away from
			f = &format{name: u.Type}
			c.formats[u.Type] = f
		}
		switch {
		case u.Type == "" || u.Schema != len(f.upcasts)+1:
			panic(fmt.Sprintf("eventsource: NewCodec: upcast of schema %d of %q, want schema %d", u.Schema, u.Type, len(f.upcasts)+1))
		case len(f.upcasts) > 0 && f.upcasts[len(f.upcasts)-1].To != "":
			panic(fmt.Sprintf("eventsource: NewCodec: upcast of schema %d of %q, which is renamed before", u.Schema, u.Type))
		case u.To != "" && f.typ != nil:
			panic(fmt.Sprintf("eventsource: NewCodec: %q is renamed to %q but has a Go type", u.Type, u.To))
		}
		f.upcasts = append(f.upcasts, u)
		f.schemas++
	}
	for _, f := range c.formats {
		c.checkEnd(f)
	}
}

// checkEnd panics unless f's upcasts end at a name with a Go type.
func (c *Codec[E]) checkEnd(f *format) {
	start := f
	for range len(c.formats) {
		if f.typ != nil {
			return
		}
		to := f.upcasts[len(f.upcasts)-1].To
		if f = c.formats[to]; f == nil {
			panic(fmt.Sprintf("eventsource: NewCodec: the upcasts of %q end at %q, which has no Go type", start.name, cmp.Or(to, start.name)))
		}
	}
	panic(fmt.Sprintf("eventsource: NewCodec: the upcasts of %q go in a circle", start.name))
}

// upcast brings data from a layout of f to the newest of the format returned,
// which has a Go type.
func (c *Codec[E]) upcast(f *format, schema int, data []byte) (*format, []byte, error) {
	for schema <= len(f.upcasts) {
		u := &f.upcasts[schema-1]
		if u.Func != nil {
			out, err := u.Func(data)
			if err != nil {
				return nil, nil, fmt.Errorf("eventsource: upcast schema %d of %s: %w", schema, f.name, err)
			}
			data = out
		}
		schema++
		if u.To != "" {
			f, schema = c.formats[u.To], 1
		}
	}
	return f, data, nil
}
