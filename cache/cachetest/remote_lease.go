package cachetest

import (
	"sync"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// patience is how long a case waits for what must happen, on real clocks: a
// server may be on a busy machine. Tests of the suite itself are less patient.
var patience = 30 * time.Second

// await polls until done, and ends the test when that takes too long.
func (r remote) await(what string, done func() bool) {
	r.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			r.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// pass waits for time to pass.
func (r remote) pass(d time.Duration) {
	begun := time.Now()
	r.await("time passes", func() bool { return time.Since(begun) > d })
}

// rounding is what TTL may be off by: ends are rounded to milliseconds, at the
// server and here.
const rounding = 2 * time.Millisecond

// life checks TTL at each moment against the clock here: the server's may show
// another time but runs no faster.
func life(r remote) {
	for version := range uint64(10) { // several, as a delay between these steps hides a wrong one
		const whole = time.Hour + 999*time.Millisecond
		f := value("b", version+1, "x")
		f.TTL = whole
		before := time.Now()
		r.put(f, true)
		if got, _ := r.lookAtTTL("b", whole, before, time.Now()); got.Version == 0 {
			r.Errorf("a record that lives for %v is not there", whole)
		}
	}
	const whole = 150 * time.Millisecond
	f := value("a", 1, "x")
	f.TTL = whole
	before := time.Now()
	r.put(f, true)
	after := time.Now()
	r.await("the record ends", func() bool {
		got, answered := r.lookAtTTL("a", whole, before, after)
		if got.Version == 0 {
			if !empty(got) {
				r.Errorf("an ended record leaves %+v", got)
			}
			if lived := answered.Sub(before); lived < whole-rounding {
				r.Errorf("a life of %v ends after %v", whole, lived)
			}
		}
		return got.Version == 0
	})
}

// lookAtTTL looks for a record that was put between two moments with a whole
// TTL, and says when the answer came.
func (r remote) lookAtTTL(key string, whole time.Duration, before, after time.Time) (cache.Record, time.Time) {
	asked := time.Now()
	got := r.look(key)
	answered := time.Now()
	if got.Version == 0 {
		return got, answered
	}
	if got.TTL <= 0 || got.TTL > whole {
		r.Errorf("TTL is %v, of %v", got.TTL, whole)
	}
	if end := asked.Add(got.TTL); end.After(after.Add(whole + rounding)) {
		r.Errorf("TTL %v is too long by %v", got.TTL, end.Sub(after.Add(whole)))
	}
	if end := answered.Add(got.TTL); end.Before(before.Add(whole - rounding)) {
		r.Errorf("TTL %v is too short by %v", got.TTL, before.Add(whole).Sub(end))
	}
	return got, answered
}

func shortLife(r remote) {
	f := value("a", 1, "x")
	f.TTL = 1
	r.put(f, true)
	if got := r.look("a"); got.Version != 0 && (got.TTL <= 0 || got.TTL > time.Millisecond) {
		r.Errorf("TTL is %v, want what is left of 1 ms", got.TTL)
	}
	r.await("a record with a TTL of 1 ns ends", func() bool { return r.look("a").Version == 0 })
	r.claim("b", 1)
	r.await("a lease of 1 ns ends", func() bool { return !r.look("b").Held })
}

func endless(r remote) {
	f := value("a", 1, "x")
	f.TTL = 20 * time.Millisecond
	r.put(f, true)
	r.put(value("a", 2, "y"), true)
	r.pass(60 * time.Millisecond)
	r.has("a", 2, "y") // the end of the record before is not its own
}

func oneLease(r remote) {
	token := r.claim("a", long)
	for _, lease := range []time.Duration{long, 0} {
		if got := r.get(cache.Query{Key: "a"}, lease); got.Token != 0 || !got.Held || !empty(got) {
			r.Errorf("beside the lease %d of somebody else a Get with lease %v is %+v, want Held alone", token, lease, got)
		}
	}
	if other := r.claim("b", long); other == token {
		r.Errorf("two leases have the token %d", token)
	}
}

func raceForLease(r remote) {
	for range 10 {
		tokens := make(chan uint64, 20)
		var racers sync.WaitGroup
		for range cap(tokens) {
			racers.Go(func() {
				records, err := r.Get(r.Context(), []cache.Query{{Key: "a"}}, long)
				if err != nil {
					r.Errorf("Get: %v", err)
					return
				}
				if records[0].Token != 0 {
					tokens <- records[0].Token
				}
			})
		}
		racers.Wait()
		if len(tokens) != 1 {
			r.Fatalf("%d of %d racers have the lease, want 1", len(tokens), cap(tokens))
		}
		r.put(cache.Fill{Key: "a", Token: <-tokens}, true)
	}
}

func tokenFill(r remote) {
	f := value("a", 1, "x")
	f.Token = r.claim("a", long)
	r.put(f, true)
	got := r.get(cache.Query{Key: "a"}, long)
	if got.Version != 1 || got.Token != 0 || got.Held {
		r.Errorf("a filled record is %+v, want no lease on it", got)
	}
	f.Version = 2
	r.put(f, false) // one fill per lease
	r.has("a", 1, "x")
}

func wrongToken(r remote) {
	token, other := r.claim("a", long), r.claim("b", long)
	for _, wrong := range []uint64{token + 1, other} {
		f := value("a", 1, "x")
		f.Token = wrong
		r.put(f, false)
		r.put(cache.Fill{Key: "a", Token: wrong, TTL: long}, false)
		r.put(cache.Fill{Key: "a", Token: wrong}, false)
	}
	if got := r.look("a"); !empty(got) || !got.Held {
		r.Errorf("after refused fills the key is %+v, want Held alone", got)
	}
	f := value("a", 1, "x")
	f.Token = token
	r.put(f, true)
}

func mixedFills(r remote) {
	a, c := value("a", 1, "x"), value("c", 3, "z")
	a.Token = r.claim("a", long)
	c.Token = 12345
	if got := r.putAll(c, value("b", 2, "y"), a); got[0] || !got[1] || !got[2] {
		r.Errorf("refused, unconditional and leased fills report %v", got)
	}
	r.has("a", 1, "x")
	r.has("b", 2, "y")
	r.has("c", 0, "")
}

func unconditional(r remote) {
	late := value("a", 1, "late")
	late.Token = r.claim("a", long)
	r.put(value("a", 2, "x"), true)
	r.put(late, false)
	r.has("a", 2, "x")
	if r.look("a").Held {
		r.Errorf("the lease is still held")
	}
}

// leaseEnds: a holder that was away too long is told by its token.
func leaseEnds(r remote) {
	r.put(value("with a value", 9, "old"), true)
	r.invalidate(cache.Message{Keys: []string{"with a value"}, Soft: true})
	for _, key := range []string{"a", "with a value"} {
		const lease = 50 * time.Millisecond
		begun := time.Now()
		late := value(key, 1, "late")
		late.Token = r.claim(key, lease)
		r.await("the lease ends", func() bool { return !r.look(key).Held })
		if lasted := time.Since(begun); lasted < lease {
			r.Errorf("a lease of %v ended after %v", lease, lasted)
		}
		r.put(late, false)
		r.put(cache.Fill{Key: key, Token: late.Token, TTL: long}, false)
		f := value(key, 2, "x")
		f.Token = r.claim(key, long)
		r.put(late, false)
		r.put(f, true)
		r.put(late, false)
		r.has(key, 2, "x")
	}
}

func leaseExtended(r remote) {
	r.put(value("with a value", 1, "x"), true)
	r.invalidate(cache.Message{Keys: []string{"with a value"}, Soft: true})
	for _, key := range []string{"a", "with a value"} {
		const lease = 100 * time.Millisecond
		begun := time.Now()
		token := r.claim(key, lease)
		stored := r.putAll(cache.Fill{Key: key, Token: token, TTL: long})[0]
		if !stored && time.Since(begun) < lease {
			r.Fatalf("the lease of %q is not extended", key)
		}
		if !stored {
			continue // this machine was away for the whole lease
		}
		r.pass(lease + 20*time.Millisecond)
		if !r.look(key).Held {
			r.Errorf("the extended lease of %q has ended with the first", key)
		}
		f := value(key, 2, "y")
		f.Token = token
		r.put(f, true)
	}
}

func leaseReleased(r remote) {
	f := value("with a value", 1, "x")
	f.TTL = long
	r.put(f, true)
	r.invalidate(cache.Message{Keys: []string{"with a value"}, Soft: true})
	for _, key := range []string{"a", "with a value"} {
		before := r.look(key)
		token := r.claim(key, 2*long)
		r.put(cache.Fill{Key: key, Token: token}, true)
		r.put(cache.Fill{Key: key, Token: token}, false)
		after := r.look(key)
		if after.Held || after.Version != before.Version || after.Expired != before.Expired || after.TTL > before.TTL {
			r.Errorf("lease and release turn %+v into %+v", before, after)
		}
		if again := r.claim(key, long); again == token {
			r.Errorf("two leases in a row have the token %d", token)
		}
	}
}

func pastFresh(r remote) {
	f := value("a", 1, "x")
	f.TTL, f.Fresh = long, 40*time.Millisecond
	begun := time.Now()
	r.put(f, true)
	r.put(value("always fresh", 1, "x"), true)
	var got cache.Record
	r.await("the record is past fresh", func() bool {
		got = r.get(cache.Query{Key: "a"}, 2*long)
		return got.Token != 0
	})
	if after := time.Since(begun); after < f.Fresh {
		r.Errorf("fresh for %v, leased after %v", f.Fresh, after)
	}
	if string(got.Data) != "x" || got.Expired || got.TTL <= 0 || got.TTL > long {
		r.Errorf("a record past fresh is %+v, want it with its data and its life", got)
	}
	got = r.get(cache.Query{Key: "a"}, long)
	if string(got.Data) != "x" || !got.Held || got.Token != 0 {
		r.Errorf("beside a lease the record is %+v, want data and Held", got)
	}
	if got := r.get(cache.Query{Key: "always fresh"}, long); got.Token != 0 || got.Held {
		r.Errorf("Fresh 0 is leased: %+v", got)
	}
}

func refresh(r remote) {
	r.put(value("a", 7, "x"), true)
	ask := func(version uint64) cache.Record {
		return r.get(cache.Query{Key: "a", Version: version, Refresh: true}, long)
	}
	if got := ask(6); got.Token != 0 || string(got.Data) != "x" {
		r.Errorf("Refresh of another version is %+v, want the record and no lease", got)
	}
	for _, version := range []uint64{7, 0} {
		got := ask(version)
		if got.Token == 0 || got.Held || got.Version != 7 {
			r.Fatalf("Refresh with version %d is %+v, want a lease", version, got)
		}
		if other := ask(version); other.Token != 0 || !other.Held {
			r.Errorf("Refresh beside a lease is %+v, want Held", other)
		}
		r.has("a", 7, "x")
		r.put(cache.Fill{Key: "a", Token: got.Token}, true)
	}
	if got := r.get(cache.Query{Key: "a", Version: 7, Refresh: true}, 0); got.Token != 0 {
		r.Errorf("Refresh without a lease is %+v", got)
	}
	if got := r.get(cache.Query{Key: "b", Version: 7, Refresh: true}, long); got.Token == 0 {
		r.Errorf("Refresh of an absent key is %+v, want a lease", got)
	}
}

// leaseOutlives: both ends are kept, whichever is first.
func leaseOutlives(r remote) {
	f := value("a", 1, "x")
	f.TTL = 100 * time.Millisecond
	r.put(f, true)
	got := r.get(cache.Query{Key: "a", Refresh: true}, long)
	if got.Token == 0 {
		r.Fatalf("Refresh is %+v, want a lease", got)
	}
	r.await("the record ends beside its lease", func() bool { return r.look("a").Version == 0 })
	if got := r.get(cache.Query{Key: "a"}, long); !empty(got) || !got.Held || got.Token != 0 {
		r.Errorf("a lease beside an ended record is %+v, want Held alone", got)
	}
	next := value("a", 2, "y")
	next.Token = got.Token
	r.put(next, true)
	r.has("a", 2, "y")
}
