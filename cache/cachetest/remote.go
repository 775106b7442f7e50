package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// TestRemote runs the conformance suite of [cache.Remote]. open returns one that
// is empty and shares nothing with others; clean-up is up to t.Cleanup. The suite
// takes a second or two of real time, since lifetimes count by the server's clock.
func TestRemote(t *testing.T, open func(t *testing.T) cache.Remote) {
	t.Helper()
	for _, c := range remoteCases {
		t.Run(c.name, func(t *testing.T) { c.test(remote{TB: t, Remote: open(t)}) })
	}
}

var remoteCases = []struct {
	name string
	test func(r remote)
}{
	{"nothing is there at first", nothingAtFirst},
	{"a record comes back as it was put", comesBack},
	{"odd keys and large ones are keys", oddKeys},
	{"results stand in the order of the queries", resultOrder},
	{"data are not shared with the caller", noAlias},
	{"the version held comes without data", conditional},
	{"a fill without a version is an error", noVersion},
	{"a fill without data and token does nothing", noData},
	{"a life has its full length", life},
	{"a life of less than a millisecond ends", shortLife},
	{"a record without a life stays", endless},
	{"a miss grants one lease", oneLease},
	{"racing misses get one lease", raceForLease},
	{"a fill that shows the token is stored and ends the lease", tokenFill},
	{"any other token is refused", wrongToken},
	{"refused fills leave the others alone", mixedFills},
	{"a fill without a token ends the lease of others", unconditional},
	{"an invalidation removes the record and ends the lease", invalidation},
	{"a soft invalidation leaves an expired record and ends the lease", softInvalidation},
	{"a lease ends on its own", leaseEnds},
	{"a lease can be extended", leaseExtended},
	{"a lease can be released", leaseReleased},
	{"a record past fresh is leased and stays", pastFresh},
	{"a query can ask for a lease on a fresh record", refresh},
	{"a lease outlives the record beside it", leaseOutlives},
	{"invalidations take absent keys, repeated ones and none", oddInvalidations},
	{"stamps of tags and of clear come from one counter", generations},
	{"overlapping stamps never go back", stampsRise},
	{"odd tags are tags", oddTags},
	{"a fill that began before an invalidation is never stored after it", fence},
	{"what has a position is on the bus", published},
	{"ended contexts are not ignored", endedCalls},
}

// remote is the one under test, with calls that cannot fail.
type remote struct {
	testing.TB
	cache.Remote
}

// long is a lease that does not end during a test.
const long = time.Minute

func (r remote) get(q cache.Query, lease time.Duration) cache.Record {
	r.Helper()
	return r.getAll(lease, q)[0]
}

func (r remote) getAll(lease time.Duration, queries ...cache.Query) []cache.Record {
	r.Helper()
	records, err := r.Get(r.Context(), queries, lease)
	if err != nil || len(records) != len(queries) {
		r.Fatalf("Get of %d keys returns %d records, %v", len(queries), len(records), err)
	}
	return records
}

// look is a Get without lease and without a copy.
func (r remote) look(key string) cache.Record {
	r.Helper()
	return r.get(cache.Query{Key: key}, 0)
}

// claim gets the lease of a key, or ends the test.
func (r remote) claim(key string, lease time.Duration) (token uint64) {
	r.Helper()
	got := r.get(cache.Query{Key: key}, lease)
	if got.Token == 0 || got.Held {
		r.Fatalf("the lease of %.50q is not granted: %+v", key, got)
	}
	return got.Token
}

func (r remote) putAll(fills ...cache.Fill) []bool {
	r.Helper()
	stored, err := r.Put(r.Context(), fills)
	if err != nil || len(stored) != len(fills) {
		r.Fatalf("Put of %d fills returns %v, %v", len(fills), stored, err)
	}
	return stored
}

// put is a Put of one fill whose outcome is known.
func (r remote) put(f cache.Fill, want bool) {
	r.Helper()
	if stored := r.putAll(f)[0]; stored != want {
		r.Errorf("Put of key %.50q, data %.50q, token %d says %v, want %v", f.Key, f.Data, f.Token, stored, want)
	}
}

// has checks that exactly this is there, as far as version and data go.
func (r remote) has(key string, version uint64, data string) {
	r.Helper()
	got := r.look(key)
	if got.Version != version || string(got.Data) != data || (got.Data == nil) != (version == 0) {
		r.Errorf("%.50q is version %d, data %.50q (nil: %v), want version %d, data %.50q",
			key, got.Version, got.Data, got.Data == nil, version, data)
	}
}

func (r remote) invalidate(m cache.Message) cache.Message {
	r.Helper()
	done, err := r.Invalidate(r.Context(), m)
	if err != nil {
		r.Fatalf("Invalidate: %v", err)
	}
	return done
}

func value(key string, version uint64, data string) cache.Fill {
	return cache.Fill{Key: key, Data: []byte(data), Version: version}
}

func nothingAtFirst(r remote) {
	if got := r.look("a"); !empty(got) || got.Held {
		r.Errorf("an absent key is %+v, want nothing", got)
	}
	if got := r.getAll(0); len(got) != 0 {
		r.Errorf("Get of no keys returns %v", got)
	}
	if got := r.putAll(); len(got) != 0 {
		r.Errorf("Put of no fills returns %v", got)
	}
}

// empty tells whether there is no value.
func empty(r cache.Record) bool {
	return r.Data == nil && r.Version == 0 && r.TTL == 0 && !r.Expired
}

func comesBack(r remote) {
	for i, data := range []string{"x", "", "*", "null", "\x00\x01\xff", strings.Repeat("large ", 200_000)} {
		version := uint64(1)<<63 + uint64(i)
		r.put(value("a", version, data), true)
		r.has("a", version, data)
	}
	got := r.look("a")
	if got.TTL != 0 || got.Token != 0 || got.Expired || got.Held {
		r.Errorf("a record without end, lease or invalidation is TTL %v, Token %d, Expired %v, Held %v",
			got.TTL, got.Token, got.Expired, got.Held)
	}
}

var oddNames = []string{"", "}", "{", "{}", "{a}b", "a:b", " ", "\x00", "\xff\xfe", "ключ", "now", "clear", strings.Repeat("k", 1<<20)}

func oddKeys(r remote) {
	for i, key := range oddNames {
		token := r.claim(key, long)
		f := value(key, uint64(i+1), fmt.Sprint("of ", i))
		f.Token = token
		r.put(f, true)
	}
	for i, key := range oddNames {
		r.has(key, uint64(i+1), fmt.Sprint("of ", i))
	}
	r.invalidate(cache.Message{Keys: oddNames})
	for _, key := range oddNames {
		r.has(key, 0, "")
	}
}

func resultOrder(r remote) {
	const n = 300 // more than go into one batch
	var fills []cache.Fill
	queries := make([]cache.Query, n)
	for i := range n {
		queries[i].Key = fmt.Sprint("key ", i*7919%n)
		if i%3 > 0 {
			fills = append(fills, value(queries[i].Key, uint64(i+1), queries[i].Key))
		}
	}
	for i, stored := range r.putAll(fills...) {
		if !stored {
			r.Errorf("fill %d of %d is not stored", i, len(fills))
		}
	}
	for i, got := range r.getAll(long, queries...) {
		filled := i%3 > 0
		if filled && (string(got.Data) != queries[i].Key || got.Version != uint64(i+1) || got.Token != 0) ||
			!filled && (!empty(got) || got.Token == 0) {
			r.Fatalf("record %d is %+v, want that of %q, filled: %v", i, got, queries[i].Key, filled)
		}
	}
}

func noAlias(r remote) {
	data := []byte("abc")
	r.put(cache.Fill{Key: "a", Data: data, Version: 1}, true)
	data[0] = 'x'
	copy(r.look("a").Data, "yyy")
	r.has("a", 1, "abc")
}

func conditional(r remote) {
	f := value("a", 5, "x")
	f.TTL = long
	r.put(f, true)
	got := r.get(cache.Query{Key: "a", Version: 5}, 0)
	if got.Data != nil || got.Version != 5 || got.TTL <= 0 || got.TTL > long {
		r.Errorf("the version held is %+v; want it without data, with version and TTL", got)
	}
	got = r.get(cache.Query{Key: "a", Version: 4}, 0)
	if !bytes.Equal(got.Data, []byte("x")) || got.Version != 5 {
		r.Errorf("another version than the one held is %+v; want all of it", got)
	}
	if got = r.get(cache.Query{Key: "b", Version: 5}, 0); !empty(got) {
		r.Errorf("an absent key with a version held is %+v; want nothing", got)
	}
}

func noVersion(r remote) {
	if _, err := r.Put(r.Context(), []cache.Fill{value("a", 0, "x")}); err == nil {
		r.Errorf("a Put of data with version 0 is no error")
	}
	r.has("a", 0, "")
}

func noData(r remote) {
	r.put(value("a", 1, "x"), true)
	r.put(cache.Fill{Key: "a", Version: 2, TTL: long}, false)
	r.put(cache.Fill{Key: "b"}, false)
	r.has("a", 1, "x")
	r.has("b", 0, "")
}

func endedCalls(r remote) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(r.Context())
	cancel(gone)
	_, get := r.Get(ctx, []cache.Query{{Key: "a"}}, long)
	_, put := r.Put(ctx, []cache.Fill{value("a", 1, "x")})
	_, invalidate := r.Invalidate(ctx, cache.Message{Keys: []string{"a"}})
	_, generations := r.Generations(ctx, nil)
	for name, err := range map[string]error{"Get": get, "Put": put, "Invalidate": invalidate, "Generations": generations} {
		if !errors.Is(err, gone) {
			r.Errorf("%s under an ended context returns %v, want its cause", name, err)
		}
	}
}
