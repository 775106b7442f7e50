package sharding

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// A finder tells in which part of a Ranges a key is. Its bounds cut the keys
// into runs 0 to len(bounds); number names the part that run i is, and a key
// that fits nowhere, NaN, is in part len(bounds)+1.
type finder[K any] interface {
	part(key K) int
	number(run int) int
}

// newFinder returns the fastest finder for K.
func newFinder[K cmp.Ordered](bounds []K) finder[K] {
	if text, ok := any(bounds).([]string); ok {
		return any(newTextFinder(text)).(finder[K])
	}
	return newEytzinger(bounds)
}

// bisection searches the sorted bounds: any order, any type.
type bisection[K any] struct {
	bounds  []K
	compare func(a, b K) int
	floats  bool // K may be NaN
}

func (f bisection[K]) part(key K) int {
	if f.floats && isNaN(key) {
		return len(f.bounds) + 1
	}
	i, found := slices.BinarySearchFunc(f.bounds, key, f.compare)
	if found {
		i++
	}
	return i
}

func (f bisection[K]) number(run int) int { return run }

// eytzinger keeps the bounds as a binary heap is kept: the children of j are
// 2j and 2j+1 ("Array Layouts for Comparison-Based Searching", Khuong and
// Morin 2017). The hot upper levels share cache lines, and the next place is
// computed, not branched to, so the processor never guesses wrong.
type eytzinger[K cmp.Ordered] struct {
	tree   []K   // from 1; its place is the number of the run that begins there
	places []int // by run; run 0 begins nowhere and has place 0
}

func newEytzinger[K cmp.Ordered](bounds []K) *eytzinger[K] {
	f := &eytzinger[K]{tree: make([]K, len(bounds)+1), places: make([]int, len(bounds)+1)}
	f.fill(bounds, 0, 1)
	return f
}

// fill puts the bounds from the i-th on into the subtree of place j, in order,
// and returns how far it came.
func (f *eytzinger[K]) fill(bounds []K, i, j int) int {
	if j >= len(f.tree) {
		return i
	}
	i = f.fill(bounds, i, 2*j)
	f.tree[j], f.places[i+1] = bounds[i], j
	return f.fill(bounds, i+1, 2*j+1)
}

func (f *eytzinger[K]) part(key K) int {
	if key != key { //nolint:staticcheck // NaN
		return len(f.tree)
	}
	return floor(f.tree, key)
}

func (f *eytzinger[K]) number(run int) int { return f.places[run] }

// floor returns the place of the greatest element of tree that is at or below
// key, 0 if none is.
func floor[K cmp.Ordered](tree []K, key K) int {
	j := uint(1)
	for j < uint(len(tree)) {
		// The compiler makes a SETcc of this; an if that adds would become a
		// branch. A test reads the machine code.
		bit := uint(0)
		if tree[j] <= key {
			bit = 1
		}
		j = 2*j + bit
	}
	// The path is written in j: 1 for each step right. The last step right
	// left from the greatest element at or below key.
	return int(j >> (bits.TrailingZeros(j) + 1))
}

// textFinder searches strings by the first 8 bytes after what all bounds have
// in common, as numbers, and then among the bounds that share those.
type textFinder struct {
	prefix string
	tails  []string // the bounds without prefix, sorted
	tree   []uint64 // the distinct heads of tails, as in eytzinger
	runs   []run    // by place in tree: the tails with that head

	compare func(a, b string) int // strings.Compare; a test counts its calls
}

// run is a run of tails, from <= i < to.
type run struct{ from, to int }

func newTextFinder(bounds []string) *textFinder {
	f := &textFinder{prefix: commonPrefix(bounds), compare: strings.Compare}
	var heads []uint64
	var runs []run
	for _, b := range bounds {
		tail := b[len(f.prefix):]
		f.tails = append(f.tails, tail)
		if h := head(tail); len(heads) == 0 || heads[len(heads)-1] != h {
			heads, runs = append(heads, h), append(runs, run{from: len(f.tails) - 1})
		}
		runs[len(runs)-1].to = len(f.tails)
	}
	e := newEytzinger(heads)
	f.tree, f.runs = e.tree, make([]run, len(e.tree))
	for i, r := range runs {
		f.runs[e.places[i+1]] = r
	}
	return f
}

// commonPrefix returns what all of the sorted texts begin with.
func commonPrefix(sorted []string) string {
	if len(sorted) == 0 {
		return ""
	}
	first, last := sorted[0], sorted[len(sorted)-1]
	n := 0
	for n < min(len(first), len(last)) && first[n] == last[n] {
		n++
	}
	return first[:n]
}

// head returns the first 8 bytes as a number. A shorter text is filled with
// zeros, so it never sorts after a longer one that begins with it.
func head(s string) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64([]byte(s[:8]))
	}
	var b [8]byte
	copy(b[:], s)
	return binary.BigEndian.Uint64(b[:])
}

func (f *textFinder) part(key string) int {
	tail, ok := strings.CutPrefix(key, f.prefix)
	if !ok {
		if key < f.prefix {
			return 0
		}
		return len(f.tails)
	}
	h := head(tail)
	at := floor(f.tree, h)
	from, to := f.runs[at].from, f.runs[at].to
	if f.tree[at] != h {
		return to // the tails with this head and below are, no others
	}
	i, found := slices.BinarySearchFunc(f.tails[from:to], tail, f.compare)
	if found {
		i++
	}
	return from + i
}

func (f *textFinder) number(run int) int { return run }
