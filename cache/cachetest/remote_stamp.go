package cachetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/keelson-go/keelson/cache"
)

func invalidation(r remote) {
	r.put(value("a", 1, "x"), true)
	r.put(value("other", 1, "x"), true)
	late := value("b", 2, "late")
	late.Token = r.claim("b", long)
	m := cache.Message{Keys: []string{"a", "b"}, Origin: 9}
	if done := r.invalidate(m); !slices.Equal(done.Keys, m.Keys) || done.Origin != 9 || done.Soft || done.Clear {
		r.Errorf("Invalidate of %+v returns %+v", m, done)
	}
	r.has("a", 0, "")
	r.has("other", 1, "x")
	r.put(late, false)
	r.put(cache.Fill{Key: "b", Token: late.Token, TTL: long}, false)
	next := r.claim("b", long)
	if next == late.Token {
		r.Errorf("the lease after the invalidation has the token of the one before")
	}
	r.put(late, false)
	late.Token = next
	r.put(late, true)
}

func softInvalidation(r remote) {
	f := value("a", 1, "x")
	f.TTL = long
	r.put(f, true)
	late := value("a", 2, "late")
	late.Token = r.get(cache.Query{Key: "a", Refresh: true}, 2*long).Token
	absent := value("b", 2, "late")
	absent.Token = r.claim("b", long)
	r.invalidate(cache.Message{Keys: []string{"a", "b", "c"}, Soft: true})
	r.put(late, false)
	r.put(absent, false)
	r.has("b", 0, "")
	r.has("c", 0, "")
	got := r.look("a")
	if string(got.Data) != "x" || got.Version != 1 || !got.Expired || got.Held || got.TTL <= 0 || got.TTL > long {
		r.Errorf("an expired record is %+v, want it with data and life, Expired", got)
	}
	if got = r.get(cache.Query{Key: "a", Version: 1}, 0); got.Data != nil || !got.Expired {
		r.Errorf("an expired record whose version is held is %+v, want Expired and no data", got)
	}
	next := value("a", 3, "y")
	next.Token = r.claim("a", long)
	r.put(next, true)
	if got = r.look("a"); got.Expired || got.Version != 3 {
		r.Errorf("a record filled after it expired is %+v, want Expired gone", got)
	}
	r.invalidate(cache.Message{Keys: []string{"a"}, Soft: true})
	r.invalidate(cache.Message{Keys: []string{"a"}})
	r.has("a", 0, "")
}

func oddInvalidations(r remote) {
	r.invalidate(cache.Message{})
	r.put(value("a", 1, "x"), true)
	r.invalidate(cache.Message{Keys: []string{"absent", "a", "a"}})
	r.has("a", 0, "")
	var many cache.Message
	for i := range 1000 {
		many.Keys = append(many.Keys, fmt.Sprint("key ", i))
		many.Tags = append(many.Tags, fmt.Sprint("tag ", i))
	}
	for _, i := range []int{0, 999} {
		r.put(value(many.Keys[i], 1, "x"), true)
	}
	done := r.invalidate(many)
	for _, i := range []int{0, 999} {
		r.has(many.Keys[i], 0, "")
		if g := r.stamps(many.Tags[i]); g.Tags[0] != done.Generation {
			r.Errorf("tag %d of 1000 has stamp %d, want %d", i, g.Tags[0], done.Generation)
		}
	}
}

func (r remote) stamps(tags ...string) cache.Generations {
	r.Helper()
	g, err := r.Generations(r.Context(), tags)
	if err != nil || len(g.Tags) != len(tags) {
		r.Fatalf("Generations of %d tags returns %+v, %v", len(tags), g, err)
	}
	return g
}

func generations(r remote) {
	before := r.stamps("t", "u")
	if before.Tags[0] != 0 || before.Tags[1] != 0 || before.Clear > before.Now {
		r.Errorf("at first the generations are %+v", before)
	}
	if again := r.stamps("t", "u"); again.Now != before.Now || again.Clear != before.Clear {
		r.Errorf("reading turns %+v into %+v", before, again)
	}
	r.put(value("a", 1, "x"), true)
	t := r.invalidate(cache.Message{Tags: []string{"t"}}).Generation
	if g := r.stamps("u", "t", "t"); t <= before.Now || g.Now != t || g.Clear != before.Clear || !slices.Equal(g.Tags, []uint64{0, t, t}) {
		r.Errorf("after an invalidation of t with generation %d, from %+v, u, t, t are %+v", t, before, g)
	}
	r.has("a", 1, "x") // tags do not say which records they are on
	clear := r.invalidate(cache.Message{Clear: true}).Generation
	if g := r.stamps("t"); clear <= t || g.Now != clear || g.Clear != clear || g.Tags[0] != t {
		r.Errorf("after a Clear with generation %d the generations are %+v", clear, g)
	}
	keys := r.invalidate(cache.Message{Keys: []string{"a"}}).Generation
	if g := r.stamps("t"); keys < clear || g.Now < keys || g.Clear != clear || g.Tags[0] != t {
		r.Errorf("after an invalidation of keys with generation %d the generations are %+v", keys, g)
	}
	both := r.invalidate(cache.Message{Tags: []string{"t", "u"}, Clear: true}).Generation
	if g := r.stamps("t", "u"); both <= keys || g.Clear != both || !slices.Equal(g.Tags, []uint64{both, both}) {
		r.Errorf("after tags and Clear with generation %d the generations are %+v", both, g)
	}
}

func stampsRise(r remote) {
	var newest atomic.Uint64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			last := uint64(0)
			for range 25 {
				done, err := r.Invalidate(r.Context(), cache.Message{Tags: []string{"t"}})
				if err != nil || done.Generation <= last {
					r.Errorf("generation %d comes after %d, %v", done.Generation, last, err)
					return
				}
				last = done.Generation
				for old := newest.Load(); old < last && !newest.CompareAndSwap(old, last); old = newest.Load() {
				}
				if g, err := r.Generations(r.Context(), []string{"t"}); err != nil || g.Tags[0] < last || g.Now < g.Tags[0] {
					r.Errorf("after stamp %d the generations are %+v, %v", last, g, err)
				}
			}
		})
	}
	group.Wait()
	if g := r.stamps("t"); g.Tags[0] != newest.Load() {
		r.Errorf("the last stamp is %d, the newest of all was %d", g.Tags[0], newest.Load())
	}
}

func oddTags(r remote) {
	want := make([]uint64, len(oddNames))
	for i, tag := range oddNames {
		want[i] = r.invalidate(cache.Message{Tags: []string{tag}}).Generation
	}
	g := r.stamps(oddNames...)
	if !slices.Equal(g.Tags, want) || g.Now != want[len(want)-1] || g.Clear >= want[0] {
		r.Errorf("stamps are %v, counter %d, clear %d; want %v", g.Tags, g.Now, g.Clear, want)
	}
}

// fence lets fills race with invalidations of a source that counts up. Whoever
// fills reads the source after it has the lease; so what stands there in the end
// is the last count, or nothing.
func fence(r remote) {
	for round := range 20 {
		key := fmt.Sprint("key ", round)
		var source atomic.Int64
		ctx, cancel := context.WithCancel(r.Context())
		var group sync.WaitGroup
		for worker := range 4 {
			group.Go(func() {
				for ctx.Err() == nil {
					r.fillFrom(&source, key, uint64(worker))
				}
			})
		}
		for range 20 {
			source.Add(1)
			r.invalidate(cache.Message{Keys: []string{key}})
			if got := r.look(key); got.Data != nil && string(got.Data) != strconv.FormatInt(source.Load(), 10) {
				r.Errorf("after the invalidation at %d the record is %s", source.Load(), got.Data)
			}
		}
		cancel()
		group.Wait()
	}
}

func (r remote) fillFrom(source *atomic.Int64, key string, worker uint64) {
	records, err := r.Get(r.Context(), []cache.Query{{Key: key}}, long)
	if err != nil {
		r.Errorf("Get: %v", err)
		return
	}
	if token := records[0].Token; token != 0 {
		data := strconv.FormatInt(source.Load(), 10)
		if _, err := r.Put(r.Context(), []cache.Fill{{Key: key, Data: []byte(data), Version: worker + 1, Token: token}}); err != nil {
			r.Errorf("Put: %v", err)
		}
	}
}

// published: a Remote may publish what it invalidates, and says so by Seq.
func published(r remote) {
	bus, ok := r.Remote.(cache.Bus)
	if !ok {
		return
	}
	sub := listen(r.TB, bus, 0)
	done := r.invalidate(cache.Message{Keys: []string{"a"}, Tags: []string{"t"}, Origin: 3, Soft: true})
	if done.Seq == 0 {
		return
	}
	if got := sub.message(); !same(got, done) {
		r.Errorf("the bus delivers %+v for %+v", got, done)
	}
}
