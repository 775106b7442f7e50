package sagasql

import (
	"strconv"
	"unicode/utf8"

	"github.com/keelson-go/keelson/saga"
)

// literal is the text of an array of Postgres: of rows, such as {"(1,\"a\")","(2,\"b\")"}, or
// of texts, such as {"a","b"}.
type literal []byte

// begin starts a row, whose values and end follow. Its texts are quoted within an element
// that is: of a row, a quote is doubled, and so is a backslash; of an element, each of
// these then has a backslash.
func (l *literal) begin() *literal {
	*l = append(*l, `,"(`...)
	return l
}

// end takes the place of the last comma.
func (l *literal) end() {
	*l = append((*l)[:len(*l)-1], `)"`...)
}

// stand adds where a saga stands, which all rows of sagas have alike.
func (l *literal) stand(s *saga.Summary) *literal {
	return l.uint(uint64(s.State)).text(s.Step).int(int64(s.Attempt)).text(s.Code).text(s.Cause).bool(s.Pivoted)
}

func (l *literal) text(s string) *literal {
	*l = append(quoted(append(*l, `\"`...), s, `\"\"`, `\\\\`), `\",`...)
	return l
}

func (l *literal) int(n int64) *literal {
	*l = append(strconv.AppendInt(*l, n, 10), ',')
	return l
}

func (l *literal) uint(n uint64) *literal {
	*l = append(strconv.AppendUint(*l, n, 10), ',')
	return l
}

func (l *literal) bool(b bool) *literal {
	*l = append(strconv.AppendBool(*l, b), ',')
	return l
}

// element adds a text to an array of texts.
func (l *literal) element(s string) {
	*l = append(quoted(append(*l, `,"`...), s, `\"`, `\\`), '"')
}

// quoted appends s, as Postgres can keep it, with these in place of quotes and
// backslashes.
func quoted(b []byte, s, quote, backslash string) []byte {
	from, checked := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			b, from = append(append(b, s[from:i]...), quote...), i+1
		case c == '\\':
			b, from = append(append(b, s[from:i]...), backslash...), i+1
		case (c == 0 || c >= utf8.RuneSelf) && !checked:
			s, checked = text(s), true // what is before i stays
		}
	}
	return append(b, s[from:]...)
}

func (l literal) String() string {
	if len(l) == 0 {
		return "{}"
	}
	l[0] = '{'
	return string(append(l, '}'))
}
