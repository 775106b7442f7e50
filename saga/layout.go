package saga

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// layout encodes a struct S field by field, to the very bytes of encoding/json, and
// knows where each field stands in them. So a step costs an encoding without
// reflection into what it does not hold, and no scan for what has changed. There is
// none for other types, and for fields that encoding/json treats in some special way.
type layout struct {
	slots []slot

	// plain: all that S holds are booleans, integers and text, and all of it
	// travels, so that a copy is what decoding would give. Text that is no UTF-8 is
	// an exception, which the encoding shows.
	plain bool
}

type slot struct {
	index     int
	key       []byte // with quotes and colon
	kind      reflect.Kind
	omitEmpty bool
}

// span is where a field stands, key included; empty where it is left out.
type span struct{ from, to int32 }

var special = []reflect.Type{
	reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](),
	reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
}

func isSpecial(t reflect.Type) bool {
	return t == reflect.TypeFor[json.Number]() || slices.ContainsFunc(special, func(as reflect.Type) bool {
		return t.Implements(as) || reflect.PointerTo(t).Implements(as)
	}) || hasStreams(t)
}

// hasStreams: t has a method of encoding/json/v2, on which encoding/json may be built.
func hasStreams(t reflect.Type) bool {
	_, writes := reflect.PointerTo(t).MethodByName("MarshalJSONTo")
	_, reads := reflect.PointerTo(t).MethodByName("UnmarshalJSONFrom")
	return writes || reads
}

// layoutOf returns nil for what encoding/json has to do as a whole.
func layoutOf(t reflect.Type) *layout {
	if t.Kind() != reflect.Struct || isSpecial(t) {
		return nil
	}
	l := &layout{plain: true}
	names := map[string]bool{}
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			l.plain = false
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		if f.Anonymous || !validName(name) || names[strings.ToLower(name)] || options != "" && options != "omitempty" || tag == "-," {
			return nil
		}
		names[strings.ToLower(name)] = true
		s := slot{index: f.Index[0], key: []byte(strconv.Quote(name) + ":"), kind: kindOf(f.Type), omitEmpty: options != ""}
		l.plain = l.plain && s.kind != reflect.Invalid
		l.slots = append(l.slots, s)
	}
	return l
}

// kindOf stands for all kinds that are encoded alike; Invalid is for encoding/json.
func kindOf(t reflect.Type) reflect.Kind {
	if isSpecial(t) {
		return reflect.Invalid
	}
	switch k := t.Kind(); k {
	case reflect.Bool, reflect.String:
		return k
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return reflect.Int
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return reflect.Uint
	default:
		return reflect.Invalid
	}
}

// encode writes S, a pointer to a struct.
func (l *layout) encode(over side, s any) (side, error) {
	v := reflect.ValueOf(s).Elem()
	data, spans, copied := append(over.data[:0], '{'), over.spans[:0], l.plain
	for i := range l.slots {
		slot := &l.slots[i]
		field := v.Field(slot.index)
		if slot.omitEmpty && isEmpty(field) {
			spans = append(spans, span{})
			continue
		}
		if len(data) > 1 {
			data = append(data, ',')
		}
		from := int32(len(data))
		data = append(data, slot.key...)
		switch slot.kind {
		case reflect.Bool:
			data = strconv.AppendBool(data, field.Bool())
		case reflect.Int:
			data = strconv.AppendInt(data, field.Int(), 10)
		case reflect.Uint:
			data = strconv.AppendUint(data, field.Uint(), 10)
		default:
			if text := field; slot.kind == reflect.String && isSimple(text.String()) {
				data = append(append(append(data, '"'), text.String()...), '"')
				break
			}
			var err error
			if data, err = appendJSON(data, field.Addr().Interface()); err != nil {
				return side{}, err
			}
			copied = copied && utf8.ValidString(field.String())
		}
		spans = append(spans, span{from, int32(len(data))})
	}
	return side{append(data, '}'), spans, copied}, nil
}

// isEmpty is what omitempty leaves out.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Interface, reflect.Pointer:
		return v.IsZero()
	default:
		return false
	}
}

// isSimple: the text stands for itself between quotes.
func isSimple(text string) bool {
	for i := range len(text) {
		if !simple[text[i]] {
			return false
		}
	}
	return true
}

var simple = func() (set [256]bool) {
	for c := byte(' '); c <= '~'; c++ {
		set[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return set
}()

// delta is what a step changed. The sides of parallel steps have no spans.
func (p *program) delta(d *differ, old, now *side) []byte {
	if p.g.chain && p.layout != nil && len(old.spans) > 0 && len(now.spans) > 0 {
		return p.layout.delta(d, old.data, old.spans, now.data, now.spans)
	}
	return d.delta(old.data, now.data)
}

// delta is [differ.delta] where it is known where the fields stand.
func (l *layout) delta(d *differ, old []byte, was []span, now []byte, is []span) []byte {
	d.set, d.unset = d.set[:0], d.unset[:0]
	for i := range l.slots {
		before, after := old[was[i].from:was[i].to], now[is[i].from:is[i].to]
		switch {
		case string(before) == string(after):
		case len(after) > 0:
			d.set = append(append(d.set, ','), after...)
		default:
			key := l.slots[i].key
			d.unset = append(append(d.unset, ','), key[:len(key)-1]...)
		}
	}
	return d.change()
}
