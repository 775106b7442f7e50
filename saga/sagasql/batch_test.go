package sagasql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/saga"
)

// What a driver hands over is read, or is an error: a write that is missing among the
// refused ones would count as stored.
func TestNumbersAreReadWholeOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		src  any
		want numbers
	}{{"{}", nil}, {"{7}", numbers{7}}, {"{1,22,512}", numbers{1, 22, 512}}, {[]byte("{1,2}"), numbers{1, 2}}} {
		got := numbers{9} // of an attempt before
		assert.NoError(t, got.Scan(c.src), c.src)
		assert.Equal(t, c.want, got, c.src)
	}
	for _, src := range []any{nil, "", "{1,NULL}", "{1,x}", "{1,}", "[1 2]", "{-1}"} {
		assert.Error(t, new(numbers).Scan(src), src)
	}
}

// Of a row in an array, a quote of a text is quoted twice, and so is a backslash; and a
// text that is empty is there.
func TestLiteralsAreQuoted(t *testing.T) {
	var l literal
	assert.Equal(t, "{}", l.String())
	l.begin().int(-1).text("").text(`a"b\c`).uint(1 << 63).bool(true).end()
	l.begin().text("(é,\x00\xff)").bool(false).end()
	assert.Equal(t, `{"(-1,\"\",\"a\"\"b\\\\c\",9223372036854775808,true)","(\"(é,`+"\uFFFD\uFFFD"+`)\",false)"}`, l.String())
	l = nil
	l.element(`a"b\c`)
	l.element("")
	assert.Equal(t, `{"a\"b\\c",""}`, l.String())
}

// Every text of four of these is quoted as it is kept: what cannot be is replaced also
// before, between and after what is quoted.
func TestQuotedIsWhatIsKept(t *testing.T) {
	parts := [8]string{`"`, `\`, "\x00", "\xff", "\xc3", "é", "a", ""}
	marked := strings.NewReplacer(`"`, "<quote>", `\`, "<backslash>")
	for n := range 1 << 12 {
		s := parts[n&7] + parts[n>>3&7] + parts[n>>6&7] + parts[n>>9]
		got := string(quoted([]byte("before "), s, "<quote>", "<backslash>"))
		if !assert.Equal(t, "before "+marked.Replace(text(s)), got, s) {
			return
		}
	}
}

// The names that a saga is claimed by are kept for the next one of a batch, unless it has
// another name, version or shape.
func TestNamesAreOfEachDefinition(t *testing.T) {
	var names definition
	for _, s := range []saga.Summary{
		{},
		{Name: "a", Version: 1, Shape: "x"},
		{Name: "a", Version: 1, Shape: "x"},
		{Name: "b", Version: 1, Shape: "x"},
		{Name: "b", Version: 2, Shape: "x"},
		{Name: "b", Version: 2, Shape: "y"},
		{},
	} {
		names.of(&s)
		anyShape, exact := canNames(&s)
		assert.Equal(t, anyShape, names.anyShape)
		assert.Equal(t, exact, names.exact)
	}
}

// A batch has nothing of the one before, whose memory it uses, nor does what was returned
// change with it; and a large one's memory is not kept.
func TestBatchesShareMemoryAlone(t *testing.T) {
	batch := func(id, data string) []any {
		return encodeBatch([]saga.Write{{Summary: saga.Summary{ID: id, Name: "order"}, Records: []saga.Record{{Seq: 1, Data: []byte(data)}}}}, []int{0})
	}
	alone := batch("b", "{}")
	first := batch("a", `{"n":12345678901234567890}`)
	was := fmt.Sprint(first...)
	assert.Equal(t, alone, batch("b", "{}"))
	assert.Equal(t, was, fmt.Sprint(first...))

	small, large := make(literal, 1, 1<<20), make(literal, 1, 1<<20+1)
	all := [batchParams]literal{small, large}
	keep(&all)
	assert.Equal(t, 0, len(all[0]))
	assert.Equal(t, 1<<20, cap(all[0]))
	assert.Equal(t, 0, cap(all[1]))
}
