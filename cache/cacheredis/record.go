package cacheredis

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// A record in Redis is a header and the data. Times are microseconds of the
// server's clock, big-endian, as are all numbers; 0 is none.
//
//	 0  kind      1 byte: 0 only a lease, 1 a value, 2 a value that is expired
//	 1  token     8 bytes: of the lease
//	 9  until     8 bytes: end of the lease
//	17  fresh     8 bytes: from then on a lease may be granted beside the value
//	25  end       8 bytes: of the value
//	33  version   8 bytes
//	41  data
//
// What a script computes comes first and what it is given last: it puts the same
// bytes before all fills that live equally long.
//
// The end stands here although Redis has an expiry per key, since a lease may
// outlive the value beside it: the expiry is the later of the two, rounded up,
// and only collects what is dead.
const (
	headerLen  = 41
	versionLen = 8

	kindLease   = 0
	kindExpired = 2
)

// decodeRecord reads what Redis has under a key, and appends its data to room,
// which has a capacity for it. held is the version that the caller has a copy of.
// What is no record is no value: it is overwritten by the next fill.
func decodeRecord(raw string, now int64, held uint64, room []byte) (r cache.Record, rest []byte) {
	if len(raw) < headerLen || raw[0] > kindExpired {
		return r, room
	}
	var header [headerLen]byte
	copy(header[:], raw)
	token, until := binary.BigEndian.Uint64(header[1:]), int64(binary.BigEndian.Uint64(header[9:]))
	r.Held = token != 0 && until > now

	kind, end, version := header[0], int64(binary.BigEndian.Uint64(header[25:])), binary.BigEndian.Uint64(header[33:])
	if kind == kindLease || version == 0 || end != 0 && end <= now {
		return r, room
	}
	r.Version, r.Expired = version, kind == kindExpired
	if end != 0 {
		r.TTL = duration(end - now)
	}
	if version != held {
		from := len(room)
		room = append(room, raw[headerLen:]...)
		r.Data = room[from:len(room):len(room)]
	}
	return r, room
}

// encodeQueries is what get.lua takes beside keys, and empty if nobody has copies
// or refreshes.
func encodeQueries(queries []cache.Query) []byte {
	plain := !slices.ContainsFunc(queries, func(q cache.Query) bool { return q.Version != 0 || q.Refresh })
	if plain {
		return []byte{}
	}
	b := make([]byte, 0, 9*len(queries))
	for _, q := range queries {
		b = binary.BigEndian.AppendUint64(b, q.Version)
		b = append(b, byte(flag(q.Refresh)))
	}
	return b
}

// specLen is what put.lua takes of a fill beside key and data.
const specLen = 24

// encodeFills is what put.lua takes beside keys and data: once, if it is the same
// for all. bare: all were granted where there was nothing else.
func encodeFills(fills []cache.Fill) (b []byte, bare bool) {
	b, bare = make([]byte, 0, specLen), true
	for i, f := range fills {
		first := &fills[0]
		if i == 1 && !slices.ContainsFunc(fills, func(f cache.Fill) bool {
			return f.Token != first.Token || f.TTL != first.TTL || f.Fresh != first.Fresh
		}) {
			break
		}
		bare = bare && f.Token&bareLease != 0
		b = binary.BigEndian.AppendUint64(b, f.Token&^bareLease)
		b = binary.BigEndian.AppendUint64(b, uint64(wholeMillis(f.TTL)*1000))
		b = binary.BigEndian.AppendUint64(b, uint64(wholeMillis(f.Fresh)*1000))
	}
	return b, bare
}

// longest is 100 years in milliseconds. A time so far off in microseconds still
// is a whole number in Lua, which has only floating-point ones.
const longest = 100 * 365 * 24 * 3600 * 1000

// wholeMillis rounds up, and anything below 0 to 0.
func wholeMillis(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return min(int64((d-1)/time.Millisecond)+1, longest)
}

func duration(micros int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Microsecond)
	return time.Duration(max(0, min(micros, most))) * time.Microsecond
}

// drawAsker draws who asks, the upper 5 bytes of a token, here and not in the
// script: when a reply is lost and go-redis tries again, the leases are still known
// as its own.
func drawAsker() uint64 { return (rand.Uint64N(1<<39-1) + 1) << timeBits }

// bareLease is the bit of a token, unknown to Redis, which says that the lease was
// granted where no value was: then the record is as short as its header.
const bareLease = 1 << 63

// timeBits is how much of a token is the time of the grant, in microseconds.
const timeBits = 24

func tokenOf(asker uint64, now int64) uint64 { return asker | uint64(now)&(1<<timeBits-1) }
