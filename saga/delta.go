package saga

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A change of S is written as the top-level fields that differ, so that the log
// grows with what a step does and not with all that the saga knows:
//
//	{"set":{"paid":true},"unset":["hold"]}   an object
//	{"whole":[1,2]}                          anything else
//
// Both sides come from encoding/json or from here: compact, keys once each.

type field struct{ key, value []byte } // key with its quotes

// differ computes changes; what it returns is overwritten by the next.
type differ struct {
	before, after []field
	set, unset    []byte
	out           []byte
}

// delta is the change from old to now, nil if there is none.
func (d *differ) delta(old, now []byte) []byte {
	if bytes.Equal(old, now) {
		return nil
	}
	if d.before == nil {
		room := make([]field, 16)
		d.before, d.after = room[:0:8], room[8:8]
	}
	var ok, ok2 bool
	d.before, ok = fields(d.before[:0], old)
	d.after, ok2 = fields(d.after[:0], now)
	if !ok || !ok2 {
		return d.join(`{"whole":`, now, `}`)
	}
	d.set, d.unset = d.set[:0], d.unset[:0]
	for i, f := range d.after {
		if was, there := find(d.before, f.key, i); there && bytes.Equal(was, f.value) {
			continue
		}
		d.set = appendField(d.set, f)
	}
	for i, f := range d.before {
		if _, there := find(d.after, f.key, i); !there {
			d.unset = append(append(d.unset, ','), f.key...)
		}
	}
	return d.change()
}

// change writes what is set and unset; either begins with a comma.
func (d *differ) change() []byte {
	switch {
	case len(d.set) == 0 && len(d.unset) == 0: // only the order differs
		return nil
	case len(d.unset) == 0:
		return d.join(`{"set":{`, d.set[1:], `}}`)
	case len(d.set) == 0:
		return d.join(`{"unset":[`, d.unset[1:], `]}`)
	default:
		out := append(d.join(`{"set":{`, d.set[1:], `},"unset":[`), d.unset[1:]...)
		return append(out, `]}`...)
	}
}

func (d *differ) join(before string, middle []byte, after string) []byte {
	d.out = append(d.out[:0], before...)
	d.out = append(d.out, middle...)
	d.out = append(d.out, after...)
	return d.out
}

func appendField(to []byte, f field) []byte {
	to = append(to, ',')
	to = append(to, f.key...)
	to = append(to, ':')
	return append(to, f.value...)
}

// find looks at place i first, where the field of a struct mostly is.
func find(all []field, key []byte, i int) (value []byte, ok bool) {
	if i < len(all) && bytes.Equal(all[i].key, key) {
		return all[i].value, true
	}
	for _, f := range all {
		if bytes.Equal(f.key, key) {
			return f.value, true
		}
	}
	return nil, false
}

type change struct {
	Set   json.RawMessage `json:"set"`
	Unset []string        `json:"unset"`
	Whole json.RawMessage `json:"whole"`
}

// patch applies a delta.
func patch(old, d json.RawMessage) (json.RawMessage, error) {
	if len(d) == 0 {
		return old, nil
	}
	var c change
	if err := json.Unmarshal(d, &c); err != nil {
		return nil, fmt.Errorf("saga: delta: %w", err)
	}
	if c.Whole != nil {
		return c.Whole, nil
	}
	before, ok := fields(nil, old)
	if !ok {
		return nil, errors.New("saga: delta of fields, and the value is no object")
	}
	set, ok := fields(nil, c.Set)
	if !ok && c.Set != nil {
		return nil, errors.New("saga: delta: set is no object")
	}
	var body []byte
	for _, f := range before {
		if now, changed := find(set, f.key, 0); changed {
			f.value = now
		} else if slices.Contains(c.Unset, unquote(f.key)) {
			continue
		}
		body = appendField(body, f)
	}
	for _, f := range set {
		if _, there := find(before, f.key, 0); !there {
			body = appendField(body, f)
		}
	}
	if body == nil {
		return json.RawMessage("{}"), nil
	}
	body[0] = '{'
	return append(body, '}'), nil
}

// changed names the fields of a delta; whole says that it replaces everything.
func changed(d json.RawMessage) (names []string, whole bool) {
	if len(d) == 0 {
		return nil, false
	}
	var c change
	if json.Unmarshal(d, &c) != nil || c.Whole != nil {
		return nil, true
	}
	set, _ := fields(nil, c.Set)
	for _, f := range set {
		names = append(names, unquote(f.key))
	}
	return append(names, c.Unset...), false
}

func unquote(key []byte) (name string) {
	_ = json.Unmarshal(key, &name) // a key that was scanned is a string
	return name
}

// fields appends the top level of a compact object to all; false for anything else.
func fields(all []field, data []byte) ([]field, bool) {
	if len(data) < 2 || data[0] != '{' || data[len(data)-1] != '}' {
		return all, false
	}
	for rest := data[1:]; rest[0] != '}'; {
		end := valueEnd(rest)
		if end >= len(rest) || rest[0] != '"' || rest[end] != ':' {
			return all, false
		}
		f := field{key: rest[:end]}
		rest = rest[end+1:]
		if end = valueEnd(rest); end == 0 || end >= len(rest) {
			return all, false
		}
		f.value = rest[:end]
		all = append(all, f)
		if rest = rest[end:]; rest[0] == ',' {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return all, false
		}
	}
	return all, true
}

// valueEnd is where the compact value at the front ends.
func valueEnd(data []byte) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i += stringEnd(data[i:])
			if depth == 0 {
				return min(i+1, len(data))
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return len(data)
}

// stringEnd is the index of the quote that closes the string at the front.
func stringEnd(data []byte) int {
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(data)
}
