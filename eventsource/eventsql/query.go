package eventsql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// builder writes a statement and collects its arguments, each of which has a
// placeholder of its own.
type builder struct {
	strings.Builder
	dialect sqldb.Dialect
	args    []any
}

func (s *Store) builder() *builder { return &builder{dialect: s.dialect} }

func (b *builder) write(parts ...string) {
	for _, p := range parts {
		b.WriteString(p)
	}
}

func (b *builder) arg(v any) {
	b.args = append(b.args, v)
	if b.dialect == sqldb.SQLite {
		b.write("?")
	} else {
		b.write("$", strconv.Itoa(len(b.args)))
	}
}

// compare writes " AND column op ?".
func (b *builder) compare(column, op string, v any) {
	b.write(" AND ", column, " ", op, " ")
	b.arg(v)
}

// in writes " AND column IN (...)", nothing for an empty list.
func (b *builder) in(column string, texts []string) {
	if len(texts) == 0 {
		return
	}
	b.write(" AND ", column, " IN (")
	for i, text := range texts {
		if i > 0 {
			b.write(", ")
		}
		b.arg(text)
	}
	b.write(")")
}

// span is what of the matching events a statement selects, and in which order.
type span struct {
	after, upTo               uint64 // positions; 0 is no bound
	afterVersion, upToVersion uint64
	asOf                      time.Time
	backward                  bool
	limit                     int
}

func (p span) direction() string {
	if p.backward {
		return " DESC"
	}
	return ""
}

// bounds writes the conditions of p on an event of the given alias.
func (b *builder) bounds(alias string, p span) {
	if p.after > 0 {
		b.compare(alias+".position", ">", clamp(p.after))
	}
	if p.upTo > 0 {
		b.compare(alias+".position", "<=", clamp(p.upTo))
	}
	if p.afterVersion > 0 || p.upToVersion > 0 { // leaves out null as well
		b.compare("e.version", ">", clamp(p.afterVersion))
	}
	if p.upToVersion > 0 {
		b.compare("e.version", "<=", clamp(p.upToVersion))
	}
	switch {
	case p.asOf.IsZero():
	case b.dialect == sqldb.SQLite:
		b.compare("e.at", "<=", p.asOf.UnixMicro())
	default: // not left to the driver or the server, of which some round up
		b.compare("e.at", "<=", p.asOf.UTC().Truncate(time.Microsecond))
	}
}

// onEvents tells whether bounds needs the row of the event.
func (p span) onEvents() bool { return p.afterVersion > 0 || p.upToVersion > 0 || !p.asOf.IsZero() }

// An arm selects the positions of one part of a query in the order of one
// index, so that a limit ends it early: one tag, one stream or one type, with
// the rest as a filter. A query is the union of its arms.
type arm struct {
	tag, stream, typ string
	kind             armKind
	item             eventsource.Item // what is left to filter
}

type armKind uint8

const (
	byPosition armKind = iota
	byTag
	byStream
	byType
)

// maxArms: beyond it, a statement scans the log in the order of positions and
// filters.
const maxArms = 32

func arms(q eventsource.Query) (all []arm) {
	for _, it := range q {
		switch {
		case len(it.Tags) > 0:
			rest := it
			rest.Tags = it.Tags[1:]
			all = append(all, arm{kind: byTag, tag: it.Tags[0], item: rest})
		case len(it.IDs) > 0:
			all = append(all, arm{item: it})
		case len(it.Streams) > 0:
			rest := it
			rest.Streams = nil
			for _, name := range it.Streams {
				all = append(all, arm{kind: byStream, stream: name, item: rest})
			}
		case len(it.Types) > 0:
			for _, name := range it.Types {
				all = append(all, arm{kind: byType, typ: name})
			}
		default:
			all = append(all, arm{})
		}
	}
	return all
}

// arm writes the statement of one arm; columns are of the event e, and
// "position" is enough to make do without its row.
func (s *Store) arm(b *builder, a arm, columns string, p span) {
	events, tags, at := s.cfg.Prefix+"events", s.cfg.Prefix+"tags", "e"
	if a.kind == byTag {
		at = "g"
		b.write("SELECT g.position FROM ", tags, " g")
		if p.onEvents() || len(a.item.Streams)+len(a.item.Types)+len(a.item.IDs) > 0 {
			b.write(" JOIN ", events, " e ON e.position = g.position")
		}
		b.write(" WHERE g.tag = ")
		b.arg(a.tag)
	} else {
		b.write("SELECT ", columns, " FROM ", events, " e WHERE ")
		switch a.kind {
		case byStream:
			b.write("e.stream = ")
			b.arg(a.stream)
		case byType:
			b.write("e.type = ")
			b.arg(a.typ)
		default:
			b.write("1 = 1")
		}
	}
	s.filter(b, at, a.item)
	b.bounds(at, p)
	b.write(" ORDER BY ", a.order(at, p), p.direction(), limit(p.limit))
}

// order is the position, or the version where that is the same order and the
// bound that counts: within a stream.
func (a arm) order(at string, p span) string {
	bound, version := p.after, p.afterVersion
	if p.backward {
		bound, version = p.upTo, p.upToVersion
	}
	if a.kind == byStream && a.stream != "" && bound == 0 && version > 0 {
		return "e.version"
	}
	return at + ".position"
}

func limit(n int) string {
	if n == 0 {
		return ""
	}
	return " LIMIT " + strconv.Itoa(n) // not an argument: the planner counts on it
}

// filter writes what an item asks for.
func (s *Store) filter(b *builder, at string, it eventsource.Item) {
	b.in("e.stream", it.Streams)
	b.in("e.type", it.Types)
	b.in("e.id", it.IDs)
	if len(it.Tags) > maxExists {
		s.countTags(b, at, it.Tags)
		return
	}
	for _, tag := range it.Tags {
		b.write(" AND EXISTS (SELECT 1 FROM ", s.cfg.Prefix, "tags h WHERE h.position = ", at, ".position AND h.tag = ")
		b.arg(tag)
		b.write(")")
	}
}

// maxExists: each of them is one more table to Postgres' planner, which takes
// seconds over a hundred.
const maxExists = 4

// countTags asks for all of many tags in one subquery.
func (s *Store) countTags(b *builder, at string, tags []string) {
	tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	b.write(" AND (SELECT count(*) FROM ", s.cfg.Prefix, "tags h WHERE h.position = ", at, ".position")
	b.in("h.tag", tags)
	b.write(") = ", strconv.Itoa(len(tags)))
}

// selectEvents writes the statement that reads columns of the events that match
// q within p.
func (s *Store) selectEvents(q eventsource.Query, columns string, p span) *builder {
	b := s.builder()
	all := arms(q)
	switch {
	case len(all) > maxArms:
		s.scan(b, q, columns, p)
	case len(all) == 1 && all[0].kind != byTag:
		s.arm(b, all[0], columns, p)
	default:
		b.write("SELECT ", columns, " FROM (")
		for i, a := range all {
			if i > 0 {
				b.write(" UNION ")
			}
			b.write("SELECT position FROM (")
			s.arm(b, a, "e.position", p)
			b.write(") a", strconv.Itoa(i))
		}
		b.write(") p JOIN ", s.cfg.Prefix, "events e ON e.position = p.position ORDER BY e.position", p.direction(), limit(p.limit))
	}
	return b
}

// scan is the form without arms.
func (s *Store) scan(b *builder, q eventsource.Query, columns string, p span) {
	b.write("SELECT ", columns, " FROM ", s.cfg.Prefix, "events e WHERE (")
	for i, it := range q {
		if i > 0 {
			b.write(" OR ")
		}
		b.write("(1 = 1")
		s.filter(b, "e", it)
		b.write(")")
	}
	b.write(")")
	b.bounds("e", p)
	b.write(" ORDER BY e.position", p.direction(), limit(p.limit))
}

// newest writes the query of a NoneSince condition on SQLite.
func (s *Store) newest(q eventsource.Query, after eventsource.Position) (string, []any) {
	b := s.selectEvents(q, "e.position", span{after: uint64(after), backward: true, limit: 1})
	return b.String(), b.args
}

// at writes the statement that reads the events at these positions.
func (s *Store) selectAt(columns string, positions []uint64, backward bool) *builder {
	b := s.builder()
	b.write("SELECT ", columns, " FROM ", s.cfg.Prefix, "events e WHERE e.position IN (")
	for i, p := range positions {
		if i > 0 {
			b.write(", ")
		}
		fmt.Fprint(b, p)
	}
	b.write(") ORDER BY e.position", span{backward: backward}.direction())
	return b
}
