package cacheredis

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// A record in Redis is a header and the data. Times are microseconds of the
// server's clock, big-endian, as are all numbers; 0 is none.
//
//	 0  kind      1 byte: 0 only a lease, 1 a value, 2 a value that is expired
//	 1  version   8 bytes
//	 9  token     8 bytes: of the lease
//	17  until     8 bytes: end of the lease
//	25  fresh     8 bytes: from then on a lease may be granted beside the value
//	33  end       8 bytes: of the value
//	41  data
//
// The end stands here although Redis has an expiry per key, since a lease may
// outlive the value beside it: the expiry is the later of the two, rounded up,
// and only collects what is dead.
const (
	headerLen = 41

	kindLease   = 0
	kindExpired = 2
)

// decodeRecord reads what Redis has under a key. held is the version that the
// caller has a copy of. What is no record is no value: it is overwritten by the
// next fill.
func decodeRecord(raw string, now int64, held uint64) (r cache.Record) {
	if len(raw) < headerLen || raw[0] > kindExpired {
		return r
	}
	header := []byte(raw[:headerLen])
	token, until := binary.BigEndian.Uint64(header[9:]), int64(binary.BigEndian.Uint64(header[17:]))
	r.Held = token != 0 && until > now

	kind, version, end := header[0], binary.BigEndian.Uint64(header[1:]), int64(binary.BigEndian.Uint64(header[33:]))
	if kind == kindLease || version == 0 || end != 0 && end <= now {
		return r
	}
	r.Version, r.Expired = version, kind == kindExpired
	if end != 0 {
		r.TTL = duration(end - now)
	}
	if version != held {
		r.Data = append(make([]byte, 0, len(raw)-headerLen), raw[headerLen:]...)
	}
	return r
}

// encodeQueries is what get.lua takes beside keys. plain: who asks is all that is
// in it.
func encodeQueries(queries []cache.Query, askers []uint64) (b []byte, plain bool) {
	b, plain = make([]byte, 0, 14*len(queries)+8), true
	for i, q := range queries {
		b = binary.BigEndian.AppendUint64(b, askers[i])[:len(b)+5]
		b = binary.BigEndian.AppendUint64(b, q.Version)
		b = append(b, byte(flag(q.Refresh)))
		plain = plain && q.Version == 0 && !q.Refresh
	}
	return b, plain
}

// encodeFills is what put.lua takes beside keys and data. bare: all were granted
// where there was nothing else.
func encodeFills(fills []cache.Fill) (b []byte, bare bool) {
	b, bare = make([]byte, 0, 33*len(fills)), true
	for _, f := range fills {
		bare = bare && f.Token&bareLease != 0
		b = binary.BigEndian.AppendUint64(b, f.Version)
		b = binary.BigEndian.AppendUint64(b, f.Token&^bareLease)
		b = binary.BigEndian.AppendUint64(b, uint64(wholeMillis(f.TTL)*1000))
		b = binary.BigEndian.AppendUint64(b, uint64(wholeMillis(f.Fresh)*1000))
		b = append(b, byte(flag(f.Data == nil)))
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

// drawAskers draws who asks per query, the upper 5 bytes of a token, here and not
// in the script: when a reply is lost and go-redis tries again, the lease is still
// known as its own.
func drawAskers(n int) []uint64 {
	askers := make([]uint64, n)
	for i := range askers {
		askers[i] = (rand.Uint64N(1<<39-1) + 1) << timeBits
	}
	return askers
}

// bareLease is the bit of a token, unknown to Redis, which says that the lease was
// granted where no value was: then the record is as short as its header.
const bareLease = 1 << 63

// timeBits is how much of a token is the time of the grant, in microseconds.
const timeBits = 24

func tokenOf(asker uint64, now int64) uint64 { return asker | uint64(now)&(1<<timeBits-1) }
