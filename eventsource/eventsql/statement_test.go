package eventsql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// parse reads an array literal of quoted texts as Postgres does.
func parse(literal string) (texts []string) {
	literal = strings.TrimSuffix(strings.TrimPrefix(literal, "{"), "}")
	for literal != "" {
		literal = strings.TrimPrefix(literal, ",")
		var text strings.Builder
		i := 1
		for ; literal[i] != '"'; i++ {
			if literal[i] == '\\' {
				i++
			}
			text.WriteByte(literal[i])
		}
		texts, literal = append(texts, text.String()), literal[i+1:]
	}
	return texts
}

// T9: quotes, commas, braces and backslashes survive the array literals.
func TestArrayLiteralsKeepEveryText(t *testing.T) {
	texts := []string{"", "plain", `"`, `\`, `a"b\c`, "{a,b}", "NULL", " x ", "é\n\t", `\\""`}
	assert.Equal(t, texts, parse(eventsql.TextArray(texts)))
}

func FuzzArrayLiteral(f *testing.F) {
	f.Add("a", `"\,{}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		assert.Equal(t, []string{a, b}, parse(eventsql.TextArray([]string{a, b})))
	})
}

// Each placeholder occurs once and in order, so that drivers that count
// appearances agree with those that read the number.
func TestPlaceholdersCountUp(t *testing.T) {
	q := eventsource.Query{
		{Tags: []string{"a", "b"}, Types: []string{"t"}},
		{Streams: []string{"s", "r"}, Types: []string{"t", "u"}},
		{IDs: []string{"1", "2"}},
		{},
	}
	statement, args := eventsql.Select(sqldb.Postgres, q, 7, 10)
	last := 0
	for part := range strings.SplitSeq(statement, "$") {
		var n int
		if _, err := fmt.Sscanf(part, "%d", &n); err == nil {
			last++
			assert.Equal(t, last, n)
		}
	}
	assert.Equal(t, len(args), last)
	statement, args = eventsql.Select(sqldb.SQLite, q, 7, 10)
	assert.Equal(t, len(args), strings.Count(statement, "?"))
}

// A query of very many parts stays one statement of bearable length.
func TestVeryWideQueriesScan(t *testing.T) {
	var q eventsource.Query
	for i := range 100 {
		q = append(q, eventsource.Item{Streams: []string{fmt.Sprint("s", i)}})
	}
	statement, args := eventsql.Select(sqldb.Postgres, q, 0, 10)
	assert.Equal(t, 100, len(args))
	assert.False(t, strings.Contains(statement, "UNION"))
}
