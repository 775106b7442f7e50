package cache

import "math/bits"

// A sketch estimates how often a hash was seen of late: a count-min sketch of
// 4-bit counters that are halved now and then (Einziger, Friedman and Manes,
// "TinyLFU", ACM ToS 2017). The four counters of a hash lie in one block of eight
// words, a cache line, as in Caffeine.
type sketch struct {
	adds  int      // since the last halving
	words []uint64 // 16 counters each; a whole number of blocks
	limit int      // adds that make it halve
	size  int      // entries that it was made for
}

const (
	blockWords  = 8
	maxEstimate = 15
	nibbles     = 0x1111111111111111
)

// newSketch has eight counters for each of n entries: 4 bytes.
func newSketch(n int) sketch {
	blocks := max(1, (n/2+blockWords-1)/blockWords)
	return sketch{words: make([]uint64, blocks*blockWords), limit: 10 * max(n, blockWords), size: n}
}

// block returns the words of a hash, chosen by multiply-shift, and the bits that
// choose the counters in them.
func (s *sketch) block(hash uint64) ([]uint64, uint64) {
	// The table places entries by the same hash's high bits, so mix once more:
	// else neighbours in the table would share their counters.
	hash = (hash ^ hash>>32) * 0x9e3779b97f4a7c15
	i, _ := bits.Mul64(hash, uint64(len(s.words)/blockWords))
	return s.words[i*blockWords:][:blockWords], hash ^ hash>>29
}

// counter returns the word, 0..7, and the shift of the i-th counter, 0..3.
func counter(pick uint64, i uint) (word, shift uint) {
	pick >>= i * 8
	return i<<1 | uint(pick&1), uint(pick>>1&15) << 2
}

// add notes n more sightings.
func (s *sketch) add(hash uint64, n uint64) {
	words, pick := s.block(hash)
	for i := range uint(4) {
		w, shift := counter(pick, i)
		room := maxEstimate - words[w]>>shift&maxEstimate
		words[w] += min(n, room) << shift
	}
	if s.adds += int(n); s.adds >= s.limit {
		s.halve()
	}
}

// estimate is at least the number of sightings since the last halvings, up to 15,
// and more if all four counters are shared.
func (s *sketch) estimate(hash uint64) uint64 {
	words, pick := s.block(hash)
	least := uint64(maxEstimate)
	for i := range uint(4) {
		w, shift := counter(pick, i)
		least = min(least, words[w]>>shift&maxEstimate)
	}
	return least
}

// halve forgets half of everything, so that what was popular long ago yields.
func (s *sketch) halve() {
	for i, w := range s.words {
		s.words[i] = w >> 1 &^ (nibbles << 3)
	}
	s.adds /= 2
}
