package eventfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/index"
	"github.com/keelson-go/keelson/internal/wal"
)

// gatherer makes the sidecar of a segment of its records. The index has them
// already; it tells the numbers of the names.
type gatherer struct {
	segment wal.Segment
	index   *index.Index

	first   uint64 // position of the first event, 0 before the first record
	micros  int64
	count   uint32
	tables  [3]nameTable
	sources map[string]tracked
	ref     wal.Ref
	refs    []byte
	withID  uint32 // the last event that has an id, counted from 1
	idCount uint64
	ids     []byte

	rec  stored
	tags []string
}

func newGatherer(s wal.Segment, x *index.Index) *gatherer {
	return &gatherer{segment: s, index: x, sources: map[string]tracked{}, ref: s.Base}
}

func (g *gatherer) record(rec wal.Record) error {
	if err := g.rec.parse(rec.Data); err != nil {
		return err
	}
	if g.first == 0 {
		g.first = uint64(g.rec.first)
	}
	g.micros = g.rec.micros
	g.rec.sources(func(source string, p eventsource.Position) { g.sources[source] = tracked{p, rec.LSN} })
	g.address(rec.Ref, len(g.rec.at))
	for i := range g.rec.at {
		n, err := g.rec.names(i, g.tags[:0])
		if err != nil {
			return err
		}
		g.tags = n.tags
		g.event(n)
	}
	return nil
}

// address notes where the events of a record are.
func (g *gatherer) address(ref wal.Ref, events int) {
	distance := uint64(ref-g.ref) << 1
	switch events {
	case 0: // a record that only tracks
		return
	case 1:
		g.refs = binary.AppendUvarint(g.refs, distance)
	default:
		g.refs = binary.AppendUvarint(binary.AppendUvarint(g.refs, distance|1), uint64(events))
	}
	g.ref = ref
}

func (g *gatherer) event(n names) {
	g.count++
	g.tables[0].add(&g.index.Streams, n.stream, g.count)
	g.tables[1].add(&g.index.Types, n.typ, g.count)
	for _, tag := range n.tags {
		g.tables[2].add(&g.index.Tags, tag, g.count)
	}
	if n.kind != idMade {
		g.idCount++
		g.ids = binary.AppendUvarint(g.ids, uint64(g.count-g.withID))
		g.ids = append(append(g.ids, n.kind), n.rawID...)
		g.withID = g.count
	}
}

// finish returns the sidecar. before sums up names from before the segment, or
// from before an earlier one.
func (g *gatherer) finish(before *[3]chain) ([]byte, error) {
	b := identity(g.segment)
	for _, n := range [...]uint64{g.first, uint64(g.micros), uint64(g.count)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for k, names := range kinds(g.index) {
		before[k].advance(names, namesUpTo(names, g.first))
		b = before[k].append(b)
	}
	for k := range g.tables {
		var err error
		if b, err = g.tables[k].appendTo(b, before[k].count); err != nil {
			return nil, err
		}
	}
	b = binary.AppendUvarint(b, uint64(len(g.sources)))
	for _, source := range slices.Sorted(maps.Keys(g.sources)) {
		t := g.sources[source]
		b = appendText(b, source)
		b = binary.LittleEndian.AppendUint64(b, uint64(t.position))
		b = binary.LittleEndian.AppendUint64(b, uint64(t.lsn))
	}
	b = appendBytes(b, g.refs)
	b = append(binary.AppendUvarint(b, g.idCount), g.ids...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func appendBytes(b, bytes []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(bytes))), bytes...)
}

// namesUpTo returns how many names have come before the event at a position. They
// are numbered as they come, so the first events of their lists ascend.
func namesUpTo(names *index.Names, pos uint64) uint32 {
	return uint32(sort.Search(names.Len(), func(i int) bool {
		list := names.List(uint32(i + 1)).Positions()
		return len(list) == 0 || uint64(list[0]) >= pos
	}))
}

// nameTable gathers the events of names. The zero nameTable is empty.
type nameTable struct {
	list   []*gathered
	byName map[string]*gathered
}

// gathered is a name and where it occurs, counted from the segment's first event.
type gathered struct {
	number    uint32
	text      string
	count     uint64
	last      uint32
	positions []byte
}

func (t *nameTable) add(names *index.Names, text string, event uint32) {
	g, ok := t.byName[text]
	if !ok {
		if t.byName == nil {
			t.byName = map[string]*gathered{}
		}
		g = &gathered{text: strings.Clone(text), number: names.Number(text)} // not a part of a record
		t.list, t.byName[g.text] = append(t.list, g), g
	}
	g.positions = binary.AppendUvarint(g.positions, uint64(event-g.last))
	g.count++
	g.last = event
}

var errNumbers = errors.New("names that are not numbered as they come")

// appendTo appends the table's part of the sidecar. There were known names before.
func (t *nameTable) appendTo(b []byte, known uint32) ([]byte, error) {
	slices.SortFunc(t.list, func(x, y *gathered) int { return int(int64(x.number) - int64(y.number)) })
	at, _ := slices.BinarySearchFunc(t.list, known+1, func(g *gathered, n uint32) int { return int(int64(g.number) - int64(n)) })
	fresh := t.list[at:]
	b = binary.AppendUvarint(b, uint64(len(fresh)))
	for i, g := range fresh {
		if g.number != known+1+uint32(i) { // whoever reads them will number them so
			return nil, errNumbers
		}
		b = appendText(b, g.text)
	}
	var directory, positions []byte
	last := uint32(0)
	for _, g := range t.list {
		directory = binary.AppendUvarint(binary.AppendUvarint(directory, uint64(g.number-last)), g.count)
		positions = append(positions, g.positions...)
		last = g.number
	}
	return appendBytes(appendBytes(b, directory), positions), nil
}
