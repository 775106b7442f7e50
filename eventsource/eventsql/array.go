package eventsql

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
)

// Arguments are array literals, which the server parses: every driver can send
// a text, and not every one an array.

// textArray writes the literal of n texts; absent ones are NULL.
func textArray(n int, at func(i int) (text string, present bool)) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		if text, present := at(i); present {
			quote(&b, text)
		} else {
			b.WriteString("NULL")
		}
	}
	b.WriteByte('}')
	return b.String()
}

// quote writes an element. Within quotes, the quote and the backslash alone
// mean something.
func quote(b *strings.Builder, text string) {
	b.WriteByte('"')
	for {
		i := strings.IndexAny(text, `"\`)
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		b.WriteByte('\\')
		b.WriteByte(text[i])
		text = text[i+1:]
	}
	b.WriteString(text)
	b.WriteByte('"')
}

// intArray writes the literal of n numbers.
func intArray(n int, at func(i int) uint64) string {
	b := make([]byte, 0, 2+4*n)
	b = append(b, '{')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, at(i), 10)
	}
	return string(append(b, '}'))
}

// numbers reads what array_to_string(..., ' ') has written.
func numbers(text string) ([]uint64, error) {
	if text == "" {
		return nil, nil
	}
	all := make([]uint64, 0, strings.Count(text, " ")+1)
	for field := range strings.SplitSeq(text, " ") {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// The JSON of conditions, see keelson_append in schema_postgres.sql.
type condJSON struct {
	Kind  string     `json:"k"`
	Name  string     `json:"s,omitempty"`
	Num   int64      `json:"n"`
	Query []itemJSON `json:"q,omitempty"`
}

type itemJSON struct {
	Streams []string `json:"s,omitempty"`
	Types   []string `json:"t,omitempty"`
	Tags    []string `json:"g,omitempty"`
}

func encodeConditions(conds []eventsource.Condition) (string, error) {
	all := make([]condJSON, len(conds))
	for i, c := range conds {
		all[i] = encodeCondition(c)
	}
	b, err := json.Marshal(all)
	return string(b), err
}

func encodeCondition(c eventsource.Condition) condJSON {
	if stream, v, ok := c.Version(); ok {
		return condJSON{Kind: "v", Name: stream, Num: clamp(v)}
	}
	if stream, ok := c.Exists(); ok {
		return condJSON{Kind: "e", Name: stream}
	}
	if source, p, ok := c.Track(); ok {
		return condJSON{Kind: "t", Name: source, Num: clamp(uint64(p))}
	}
	q, after, _ := c.NoneSince()
	j := condJSON{Kind: "n", Num: clamp(uint64(after))}
	for _, it := range q {
		j.Query = append(j.Query, itemJSON{Streams: it.Streams, Types: it.Types, Tags: it.Tags})
	}
	return j
}

// clamp is for numbers that are compared with those of the database, which end
// at 2^63-1: nothing there is above it or equal to it.
func clamp(n uint64) int64 { return int64(min(n, 1<<63-1)) }
