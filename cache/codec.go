package cache

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
)

// Codec turns values into what the Remote keeps. Decode must not keep data. Both
// are called concurrently.
type Codec[V any] interface {
	Encode(v V) ([]byte, error)
	Decode(data []byte) (V, error)
}

// codecFuncs is a Codec of two functions.
type codecFuncs[V any] struct {
	encode func(V) ([]byte, error)
	decode func([]byte) (V, error)
}

func (c codecFuncs[V]) Encode(v V) ([]byte, error)    { return c.encode(v) }
func (c codecFuncs[V]) Decode(data []byte) (V, error) { return c.decode(data) }

// defaultCodec chooses by the type of V: bytes as they are, the type's own
// binary form, JSON.
func defaultCodec[V any]() Codec[V] {
	var raw any
	switch any(*new(V)).(type) {
	case []byte:
		raw = codecFuncs[[]byte]{
			func(v []byte) ([]byte, error) { return v, nil },
			func(data []byte) ([]byte, error) { return append([]byte{}, data...), nil },
		}
	case string:
		raw = codecFuncs[string]{
			func(v string) ([]byte, error) { return []byte(v), nil },
			func(data []byte) (string, error) { return string(data), nil },
		}
	}
	if c, ok := raw.(Codec[V]); ok {
		return c
	}
	if c, ok := binaryCodec[V](); ok {
		return c
	}
	return codecFuncs[V]{
		func(v V) ([]byte, error) { return json.Marshal(v) },
		func(data []byte) (v V, err error) { return v, json.Unmarshal(data, &v) },
	}
}

// binaryCodec is for a V that marshals itself, by value or by pointer.
func binaryCodec[V any]() (Codec[V], bool) {
	t := reflect.TypeFor[V]()
	if _, ok := any(new(V)).(encoding.BinaryUnmarshaler); ok {
		if _, ok := any(new(V)).(encoding.BinaryMarshaler); ok { // the methods of V are among those of *V
			return codecFuncs[V]{
				func(v V) ([]byte, error) { return any(&v).(encoding.BinaryMarshaler).MarshalBinary() },
				func(data []byte) (v V, err error) {
					return v, any(&v).(encoding.BinaryUnmarshaler).UnmarshalBinary(bytes.Clone(data))
				},
			}, true
		}
	}
	_, marshals := any(*new(V)).(encoding.BinaryMarshaler)
	_, unmarshals := any(*new(V)).(encoding.BinaryUnmarshaler)
	if t.Kind() != reflect.Pointer || !marshals || !unmarshals {
		return nil, false
	}
	return pointerCodec[V](t.Elem()), true
}

// pointerCodec is binaryCodec for pointers. The first byte tells nil, which is a
// value like any other, from what the type would make of it.
func pointerCodec[V any](elem reflect.Type) Codec[V] {
	return codecFuncs[V]{
		func(v V) ([]byte, error) {
			if reflect.ValueOf(v).IsNil() {
				return []byte{0}, nil
			}
			data, err := any(v).(encoding.BinaryMarshaler).MarshalBinary()
			return append([]byte{1}, data...), err
		},
		func(data []byte) (v V, err error) {
			if len(data) == 1 && data[0] == 0 {
				return v, nil
			}
			if len(data) == 0 || data[0] != 1 {
				return v, errors.New("cache: neither nil nor a value")
			}
			v = reflect.New(elem).Interface().(V)
			return v, any(v).(encoding.BinaryUnmarshaler).UnmarshalBinary(bytes.Clone(data[1:]))
		},
	}
}
