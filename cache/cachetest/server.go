package cachetest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// logLength is how many messages the log keeps.
const logLength = 16384

// wipeJump is how far the log jumps at a wipe, so that nobody's position is
// taken for one of the new log.
const wipeJump = 1 << 20

// server is what the cluster holds, without links: the reference of what a
// Remote does. Its caller holds a lock.
type server struct {
	random  *rand.Rand
	records map[string]record
	sweepAt int // number of records at which the dead ones are removed

	counter, clear uint64
	tags           map[string]uint64

	log  []cache.Message // the last of them has Seq == head
	head uint64
}

// record is a value, a lease on its key, or both; each has its own end.
type record struct {
	data    []byte // nil: only a lease
	version uint64
	end     time.Time // zero: none
	fresh   time.Time // zero: always
	expired bool

	token uint64 // 0: no lease
	until time.Time
}

func newServer(random *rand.Rand) server {
	s := server{random: random, head: 1}
	s.wipe()
	return s
}

// wipe starts anew, with stamps and positions above all that were given out.
func (s *server) wipe() {
	s.records = make(map[string]record)
	s.sweepAt = 1024
	s.counter++
	s.clear = s.counter
	s.tags = make(map[string]uint64)
	s.log = nil
	s.head += wipeJump
}

func (s *server) trim(keep int) {
	if cut := len(s.log) - max(keep, 0); cut > 0 {
		s.log = slices.Delete(s.log, 0, cut)
	}
}

// at returns the record as of now: what has ended is gone.
func (s *server) at(key string, now time.Time) record {
	r := s.records[key]
	if r.data != nil && !r.end.IsZero() && !now.Before(r.end) {
		r = record{token: r.token, until: r.until}
	}
	if !now.Before(r.until) {
		r.token = 0
	}
	return r
}

// store keeps what is left of a record.
func (s *server) store(key string, r record) {
	if r.data == nil && r.token == 0 {
		delete(s.records, key)
		return
	}
	s.records[key] = r
}

func (s *server) get(q cache.Query, lease time.Duration, now time.Time) cache.Record {
	r := s.at(q.Key, now)
	out := cache.Record{Version: r.version, Expired: r.expired, Held: r.token != 0}
	if r.data != nil {
		if q.Version != r.version {
			out.Data = bytes.Clone(r.data)
		}
		if !r.end.IsZero() {
			out.TTL = r.end.Sub(now)
		}
	}
	if lease > 0 && !out.Held && r.leasable(q, now) {
		r.token, r.until = s.draw(), now.Add(wholeMillis(lease))
		s.store(q.Key, r)
		out.Token = r.token
	}
	return out
}

// leasable tells whether a query may have a lease that is free.
func (r record) leasable(q cache.Query, now time.Time) bool {
	past := !r.fresh.IsZero() && !now.Before(r.fresh)
	refresh := q.Refresh && (q.Version == 0 || q.Version == r.version)
	return r.data == nil || r.expired || past || refresh
}

func (s *server) put(f cache.Fill, now time.Time) (stored bool) {
	r := s.at(f.Key, now)
	if f.Token != r.token && f.Token != 0 || f.Token == 0 && f.Data == nil {
		return false
	}
	switch {
	case f.Data != nil:
		r = record{data: bytes.Clone(f.Data), version: f.Version}
		if f.TTL > 0 {
			r.end = now.Add(wholeMillis(f.TTL))
		}
		if f.Fresh > 0 {
			r.fresh = now.Add(wholeMillis(f.Fresh))
		}
	case f.TTL > 0:
		r.until = now.Add(wholeMillis(f.TTL))
	default:
		r.token = 0
	}
	s.store(f.Key, r)
	s.sweep(now)
	return true
}

// sweep removes dead records now and then: half of what is there at worst.
func (s *server) sweep(now time.Time) {
	if len(s.records) < s.sweepAt {
		return
	}
	for key := range s.records {
		s.store(key, s.at(key, now))
	}
	s.sweepAt = max(1024, 2*len(s.records))
}

// invalidate applies m and returns it with its stamp and position.
func (s *server) invalidate(m cache.Message, now time.Time) cache.Message {
	for _, key := range m.Keys {
		r := s.at(key, now)
		if !m.Soft {
			r = record{}
		}
		r.expired, r.token = r.data != nil, 0
		s.store(key, r)
	}
	if len(m.Tags) > 0 || m.Clear {
		s.counter++
	}
	for _, tag := range m.Tags {
		s.tags[tag] = s.counter
	}
	if m.Clear {
		s.clear = s.counter
	}
	m.Generation = s.counter
	return s.publish(m)
}

func (s *server) publish(m cache.Message) cache.Message {
	s.head++
	m.Seq = s.head
	m.Keys, m.Tags = slices.Clone(m.Keys), slices.Clone(m.Tags)
	s.log = append(s.log, m)
	if len(s.log) >= 2*logLength {
		s.trim(logLength)
	}
	return m
}

func (s *server) generations(tags []string) cache.Generations {
	g := cache.Generations{Now: s.counter, Clear: s.clear, Tags: make([]uint64, len(tags))}
	for i, tag := range tags {
		g.Tags[i] = s.tags[tag]
	}
	return g
}

// position is where a subscription after a position starts.
func (s *server) position(after uint64) uint64 {
	if after < s.head-uint64(len(s.log)) || after > s.head {
		return s.head
	}
	return after
}

// after returns the messages behind a position that are left.
func (s *server) after(pos uint64) []cache.Message {
	have := uint64(len(s.log))
	if pos >= s.head {
		return nil
	}
	return slices.Clone(s.log[have-min(have, s.head-pos):])
}

func (s *server) draw() uint64 { return s.random.Uint64N(1<<64-1) + 1 }

func wholeMillis(d time.Duration) time.Duration {
	if r := d % time.Millisecond; r > 0 && d < math.MaxInt64-time.Millisecond {
		d += time.Millisecond - r
	}
	return d
}

// check refuses what no Remote could store.
func check(fills []cache.Fill) error {
	for _, f := range fills {
		if f.Data != nil && f.Version == 0 {
			return fmt.Errorf("cachetest: Fill.Version of key %.100q is 0; it has to be random and not 0", f.Key)
		}
	}
	return nil
}
