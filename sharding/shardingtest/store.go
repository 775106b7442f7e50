// Package shardingtest holds the conformance suite of topology stores: what
// every implementation of [sharding.Store] must pass, those of users included.
//
// It is to stores what testing/fstest is to file systems.
//
//	func TestStore(t *testing.T) {
//		shardingtest.TestStore(t, func(t *testing.T) sharding.Store { return open(t) })
//	}
package shardingtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/sharding"
)

// patience is how long a test waits for what must happen, on real clocks: a
// store may be a server on a busy machine.
const patience = 30 * time.Second

// TestStore runs the suite. open returns a store that is empty and shares
// nothing with the others; clean-up is up to t.Cleanup. A store may be used by
// many goroutines at a time.
func TestStore(t *testing.T, open func(t *testing.T) sharding.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s sharding.Store)
	}{
		{"an empty store has the zero document", emptyStore},
		{"a document comes back as it was put", roundTrip},
		{"only the next epoch is accepted", onlyNext},
		{"the stored document again is nil", putAgain},
		{"one of two racing puts wins", race},
		{"a lost update cannot happen", noLostUpdate},
		{"documents do not alias", noAlias},
		{"wait returns at once for an old epoch", waitOld},
		{"wait returns after a put", waitPut},
		{"wait ends with its context", waitCancel},
		{"ended contexts are not ignored", endedContext},
		{"a router follows the store", routerFollows},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func emptyStore(t *testing.T, s sharding.Store) {
	doc, err := s.Load(t.Context())
	if err != nil || !same(doc, sharding.Document{}) {
		t.Fatalf("Load of an empty store is %+v, %v; want the zero document, nil", doc, err)
	}
}

// document is one with every member set.
func document(epoch uint64, content string) sharding.Document {
	raw := func(name string) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"%s":%q}`, name, content)) }
	return sharding.Document{Epoch: epoch, Map: raw("map"), Mirror: raw("mirror"), ReadMirror: true, Block: true, Job: raw("job")}
}

func roundTrip(t *testing.T, s sharding.Store) {
	for i, doc := range []sharding.Document{
		document(1, "a"),
		{Epoch: 2, Map: json.RawMessage(`[]`)},
		document(3, "\u2028 <html> & \\ ünï 🜁 9007199254740993"),
		{Epoch: 4, Map: json.RawMessage(`{"n": 9007199254740993, "spaces":  [ 1 ]}`), Block: true},
		{Epoch: 5, Map: json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), 1<<20)) + `"`)},
	} {
		put(t, s, doc)
		if got := load(t, s); !same(got, doc) {
			t.Fatalf("document %d is %.200s after Load, was %.200s", i, text(got), text(doc))
		}
	}
}

func onlyNext(t *testing.T, s sharding.Store) {
	refuse := func(doc sharding.Document, conflict bool) {
		t.Helper()
		before := load(t, s)
		err := s.Put(t.Context(), doc)
		if err == nil || conflict && !errors.Is(err, sharding.ErrConflict) {
			t.Fatalf("Put of epoch %d over %d is %v, want ErrConflict", doc.Epoch, before.Epoch, err)
		}
		if got := load(t, s); !same(got, before) {
			t.Fatalf("a refused Put changed %s to %s", text(before), text(got))
		}
	}
	refuse(document(0, "a"), false)
	refuse(document(2, "a"), true)
	put(t, s, document(1, "a"))
	put(t, s, document(2, "a"))
	for _, epoch := range []uint64{1, 4, 1 << 40} {
		refuse(document(epoch, "a"), true)
	}
	refuse(document(2, "b"), true)
	other := document(2, "a")
	other.Block = false
	refuse(other, true)
}

func putAgain(t *testing.T, s sharding.Store) {
	for epoch := uint64(1); epoch <= 3; epoch++ {
		for range 3 {
			put(t, s, document(epoch, "a"))
		}
	}
}

func race(t *testing.T, s sharding.Store) {
	put(t, s, document(1, "first"))
	for epoch := uint64(2); epoch < 12; epoch++ {
		var wg sync.WaitGroup
		var won atomic.Int64
		for i := range 4 {
			wg.Go(func() {
				switch err := s.Put(t.Context(), document(epoch, fmt.Sprint(i))); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, sharding.ErrConflict):
					t.Errorf("the loser of a race got %v, want ErrConflict", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 4 racing puts of epoch %d succeeded, want 1", won.Load(), epoch)
		}
	}
}

// noLostUpdate counts in the document, from several goroutines.
func noLostUpdate(t *testing.T, s sharding.Store) {
	put(t, s, sharding.Document{Epoch: 1, Map: json.RawMessage("0")})
	const workers, each = 4, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				doc, err := s.Load(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if err := json.Unmarshal(doc.Map, &n); err != nil {
					t.Error(err)
					return
				}
				next := sharding.Document{Epoch: doc.Epoch + 1, Map: json.RawMessage(fmt.Sprint(n + 1))}
				// Equal bytes may have been stored by another worker, and to
				// put them again is nil: the worker's mark tells them apart.
				next.Job = json.RawMessage(fmt.Sprintf(`"%p/%d"`, &done, done))
				switch err := s.Put(t.Context(), next); {
				case err == nil:
					done++
				case !errors.Is(err, sharding.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if doc := load(t, s); string(doc.Map) != fmt.Sprint(workers*each) {
		t.Fatalf("%d increments gave %s", workers*each, doc.Map)
	}
}

func noAlias(t *testing.T, s sharding.Store) {
	doc := document(1, "a")
	put(t, s, doc)
	doc.Map[2], doc.Job[2] = 'X', 'X'
	got := load(t, s)
	got.Mirror[2] = 'X'
	if got := load(t, s); !same(got, document(1, "a")) {
		t.Fatalf("a caller's change reached the store: %s", text(got))
	}
}

func waitOld(t *testing.T, s sharding.Store) {
	put(t, s, document(1, "a"))
	put(t, s, document(2, "b"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for after := range uint64(2) {
		if err := s.Wait(ctx, after); err != nil {
			t.Fatalf("Wait after %d with epoch 2 stored is %v", after, err)
		}
	}
}

// waitPut: a Wait may be early and may miss a change, so it is called in a
// loop beside Load, as a router does; but a store whose every Wait misses is
// of no use.
func waitPut(t *testing.T, s sharding.Store) {
	put(t, s, document(1, "a"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	woken := make(chan error, 1)
	go func() {
		for {
			err := s.Wait(ctx, 1)
			if err == nil {
				doc, loadErr := s.Load(ctx)
				if err = loadErr; err == nil && doc.Epoch == 1 {
					continue // early
				}
			}
			woken <- err
			return
		}
	}()
	time.Sleep(20 * time.Millisecond) // most likely it waits by now; the test holds either way
	put(t, s, document(2, "b"))
	if err := <-woken; err != nil {
		t.Fatalf("Wait did not see a Put within %v: %v", patience, err)
	}
}

func waitCancel(t *testing.T, s sharding.Store) {
	put(t, s, document(1, "a"))
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
	for { // early returns are allowed
		err := s.Wait(ctx, 1)
		if err == nil {
			continue
		}
		if !errors.Is(err, gone) {
			t.Fatalf("Wait returned %v, want the cause of its context", err)
		}
		return
	}
}

func endedContext(t *testing.T, s sharding.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Load with an ended context returned %v", err)
	}
	if err := s.Put(ctx, document(1, "a")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with an ended context returned %v", err)
	}
	if err := s.Wait(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with an ended context returned %v", err)
	}
}

func routerFollows(t *testing.T, s sharding.Store) {
	owned := func(epoch uint64) sharding.Document {
		return sharding.Document{Epoch: epoch, Map: json.RawMessage(fmt.Sprintf(`"shard-%d"`, epoch))}
	}
	put(t, s, owned(1))
	installed := make(chan uint64, 100)
	r, err := sharding.Open(t.Context(), s, decode, sharding.Config{Poll: time.Second, OnEvent: func(e sharding.Event) {
		if e.Err != nil {
			t.Errorf("following: %v", e.Err)
			return
		}
		installed <- e.Epoch
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Follow(ctx) }()
	for epoch := uint64(2); epoch <= 5; epoch++ {
		put(t, s, owned(epoch))
	}
	for last := uint64(0); last < 5; {
		select {
		case last = <-installed:
		case <-ctx.Done():
			t.Errorf("the router is at epoch %d after %v, want 5", last, patience)
			last = 5
		}
	}
	cancel()
	<-done
	if rt, err := r.Route("key"); err != nil || rt.Shard != "shard-5" {
		t.Errorf("route is %+v, %v", rt, err)
	}
}

// decode makes a map in which one shard owns every key.
func decode(doc []byte) (sharding.Map[string], error) {
	var owner sharding.ID
	if err := json.Unmarshal(doc, &owner); err != nil {
		return nil, err
	}
	return sharding.NewRanges(sharding.Range[string]{Owner: owner})
}

func put(t *testing.T, s sharding.Store, doc sharding.Document) {
	t.Helper()
	if err := s.Put(t.Context(), doc); err != nil {
		t.Fatalf("Put of epoch %d: %v", doc.Epoch, err)
	}
}

func load(t *testing.T, s sharding.Store) sharding.Document {
	t.Helper()
	doc, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return doc
}

// same compares documents byte by byte; an empty member is an absent one.
func same(a, b sharding.Document) bool {
	return a.Epoch == b.Epoch && a.ReadMirror == b.ReadMirror && a.Block == b.Block &&
		bytes.Equal(a.Map, b.Map) && bytes.Equal(a.Mirror, b.Mirror) && bytes.Equal(a.Job, b.Job)
}

func text(doc sharding.Document) string {
	return fmt.Sprintf("{%d %s %s %t %t %s}", doc.Epoch, doc.Map, doc.Mirror, doc.ReadMirror, doc.Block, doc.Job)
}
