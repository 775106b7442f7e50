package main

import "container/list"

// Reference policies for hit ratios, as small as their papers allow.

// A recency is LRU.
type recency struct {
	size  int
	order *list.List
	at    map[uint64]*list.Element
}

func newRecency(size int) *recency {
	return &recency{size: size, order: list.New(), at: map[uint64]*list.Element{}}
}

// request tells whether key was there, and puts it there if not.
func (r *recency) request(key uint64) bool {
	if e, ok := r.at[key]; ok {
		r.order.MoveToFront(e)
		return true
	}
	if len(r.at) == r.size {
		last := r.order.Back()
		delete(r.at, last.Value.(uint64))
		r.order.Remove(last)
	}
	r.at[key] = r.order.PushFront(key)
	return false
}

// An s3 is S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth, a main
// queue with reinsertion, and a ghost queue of as many keys as main holds.
type s3 struct {
	size, smallSize    int
	small, main, ghost []uint64
	freq               map[uint64]int // of those in small and main
	inGhost            map[uint64]int // how many times the key stands in ghost
}

func newS3(size int) *s3 {
	return &s3{size: size, smallSize: max(1, size/10), freq: map[uint64]int{}, inGhost: map[uint64]int{}}
}

func (s *s3) request(key uint64) bool {
	if n, ok := s.freq[key]; ok {
		s.freq[key] = min(n+1, 3)
		return true
	}
	if len(s.freq) == s.size {
		s.evict()
	}
	s.freq[key] = 0
	if s.inGhost[key] > 0 {
		s.main = append(s.main, key)
	} else {
		s.small = append(s.small, key)
	}
	return false
}

// evict makes room for one.
func (s *s3) evict() {
	full := len(s.freq)
	for len(s.freq) == full {
		if len(s.small) >= s.smallSize || len(s.main) == 0 {
			s.evictSmall()
		} else {
			s.evictMain()
		}
	}
}

func (s *s3) evictSmall() {
	for len(s.small) > 0 {
		key := s.small[0]
		s.small = s.small[1:]
		if s.freq[key] > 1 {
			s.freq[key] = 0
			s.main = append(s.main, key)
			if len(s.main) > s.size-s.smallSize {
				s.evictMain()
				return
			}
			continue
		}
		delete(s.freq, key)
		s.remember(key)
		return
	}
}

func (s *s3) evictMain() {
	for len(s.main) > 0 {
		key := s.main[0]
		s.main = s.main[1:]
		if n := s.freq[key]; n > 0 {
			s.freq[key] = n - 1
			s.main = append(s.main, key)
			continue
		}
		delete(s.freq, key)
		return
	}
}

func (s *s3) remember(key uint64) {
	s.ghost = append(s.ghost, key)
	s.inGhost[key]++
	if len(s.ghost) > s.size-s.smallSize {
		oldest := s.ghost[0]
		s.ghost = s.ghost[1:]
		if s.inGhost[oldest]--; s.inGhost[oldest] == 0 {
			delete(s.inGhost, oldest)
		}
	}
}
