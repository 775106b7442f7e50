package sagatest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keelson-go/keelson/saga"
)

// is is errors.Is, and nil is nil.
func is(err, want error) bool {
	if want == nil {
		return err == nil
	}
	return errors.Is(err, want)
}

// T13: oldest due first; what goes to the future delays nobody.
func dueOrder(s *suite) {
	for _, id := range []string{"c", "a", "d", "b"} {
		w := start(id)
		if id == "d" {
			w.WakeIn = time.Hour
		}
		s.accept(w)
		time.Sleep(2 * time.Millisecond) // due at different times by any store's clock
	}
	got := s.poll("o", 2, can)
	if want := []string{"c", "a"}; !slices.Equal(ids(got.Claimed), want) {
		s.Errorf("claimed %v, want %v", ids(got.Claimed), want)
	}
	got = s.poll("o", 10, can)
	if want := []string{"b"}; !slices.Equal(ids(got.Claimed), want) {
		s.Errorf("then %v, want %v", ids(got.Claimed), want)
	}
	for _, c := range got.Claimed {
		if c.Owner != "o" || c.Epoch != 2 || c.Claims != 1 {
			s.Errorf("claimed as %+v", c)
		}
	}
	if got.Next <= 0 || got.Next > time.Hour {
		s.Errorf("next is due in %v", got.Next)
	}
}

// T33: what nobody here can run is left untouched, and counted.
func onlyWhatItCan(s *suite) {
	for i, change := range []func(*saga.Summary){
		func(*saga.Summary) {},
		func(sum *saga.Summary) { sum.Version = 2 },
		func(sum *saga.Summary) { sum.Shape = "other" },
		func(sum *saga.Summary) { sum.Name = "order2" },
	} {
		w := start(fmt.Sprint(i))
		change(&w.Summary)
		s.accept(w)
	}
	before, _, _ := s.load("2")
	got := s.poll("o", 10, can, "order2@7", "ord@1")
	if !slices.Equal(ids(got.Claimed), []string{"0"}) || got.Foreign != 3 {
		s.Errorf("claimed %v, foreign %d", ids(got.Claimed), got.Foreign)
	}
	if after, _, _ := s.load("2"); after != before {
		s.Errorf("changed from %+v to %+v", before, after)
	}
	got = s.poll("o", 10, "order@2", "order2@1/abc", "order@1")
	if !slices.Equal(sortedIDs(got.Claimed), []string{"1", "2", "3"}) || got.Foreign != 0 {
		s.Errorf("claimed %v, foreign %d", ids(got.Claimed), got.Foreign)
	}
}

func sortedIDs(all []saga.Summary) []string {
	out := ids(all)
	slices.Sort(out)
	return out
}

func nextTells(s *suite) {
	if got := s.poll("o", 10, can); got.Next >= 0 || got.Now.IsZero() {
		s.Errorf("nothing is due, Next is %v, Now %v", got.Next, got.Now)
	}
	w := start("later")
	w.WakeIn = 30 * time.Minute
	s.accept(w)
	if got := s.poll("o", 10, can); got.Next < 29*time.Minute || got.Next > 30*time.Minute {
		s.Errorf("Next is %v", got.Next)
	}
	never := start("never")
	never.WakeIn = -1
	s.accept(never)
	s.accept(start("now"))
	if got := s.poll("o", 0, can); got.Next != 0 || len(got.Claimed) != 0 {
		s.Errorf("with a limit of 0: Next is %v, claimed %v", got.Next, ids(got.Claimed))
	}
}

func ownedAreLeftAlone(s *suite) {
	s.accept(start("a"))
	s.claim("one", "a")
	if got := s.poll("two", 10, can); len(got.Claimed) != 0 {
		s.Errorf("claimed %v from a live owner", ids(got.Claimed))
	}
	if got := s.pollLease(saga.Lease{Owner: "two", For: lease, Only: "a"}); len(got.Claimed) != 0 {
		s.Errorf("claimed %v from a live owner", ids(got.Claimed))
	}
}

func silentOwners(s *suite) {
	s.accept(start("a"))
	s.accept(start("b"))
	short := saga.Lease{Owner: "silent", For: 50 * time.Millisecond, Limit: 1, Can: []string{can}}
	first := s.pollLease(short).Claimed
	s.pollLease(saga.Lease{Owner: "loud", For: time.Minute, Limit: 1, Can: []string{can}})
	time.Sleep(100 * time.Millisecond)
	got := s.reap("heir")
	if len(got) != 1 || got[0].ID != first[0].ID || got[0].Epoch != first[0].Epoch+1 || got[0].Claims != 2 {
		s.Errorf("the heir got %+v, the silent one had %+v", got, first)
	}
}

// A write without records leaves the saga to who holds it, and its log and mail as they
// are; claims count from 0 again.
func emptyWrite(s *suite) {
	s.accept(start("a"))
	var sum saga.Summary
	for i := range 3 {
		owner := fmt.Sprint("o", i)
		if sum = s.claim(owner, "a"); sum.Claims != i+1 {
			s.Errorf("claim %d: %+v", i+1, sum)
		}
		if i < 2 {
			s.pollLease(saga.Lease{Owner: owner})
		}
	}
	s.post("a", saga.Record{Kind: "signal", Code: "go"})
	if v := s.accept(saga.Write{Summary: sum}); v.Mail != 1 {
		s.Errorf("verdict %+v", v)
	}
	got, log, mail := s.load("a")
	if got.Claims != 0 || got.Owner != "o2" || got.Epoch != sum.Epoch || got.Seq != 1 || len(log) != 1 || len(mail) != 1 {
		s.Errorf("after an empty write: %+v, %d records, %d messages", got, len(log), len(mail))
	}
	s.pollLease(saga.Lease{Owner: "o2"})
	if sum = s.claim("o3", "a"); sum.Claims != 1 {
		s.Errorf("claimed again: %+v", sum)
	}
}

// reap polls twice: a store may free an owner's sagas in one poll and claim them
// in the next.
func (s *suite) reap(owner string) []saga.Summary {
	s.Helper()
	got := s.poll(owner, 10, can).Claimed
	return append(got, s.poll(owner, 10, can).Claimed...)
}

// T10: an owner that others have declared dead is told so, also if it holds
// nothing.
func reapedOwner(s *suite) {
	s.accept(start("a"))
	short := saga.Lease{Owner: "silent", For: 50 * time.Millisecond, Limit: 1, Can: []string{can}}
	stale := s.pollLease(short).Claimed[0]
	time.Sleep(100 * time.Millisecond)
	s.reap("heir")
	if _, err := s.store.Poll(s.ctx, short); !is(err, saga.ErrFenced) {
		s.Errorf("Poll of a dead owner: %v", err)
	}
	s.refused(next(stale, "done"), saga.ErrFenced)
}

// T16: a write that arrives between the end of its lease and the next claim extends
// the saga and does not take it back.
func lateWrite(s *suite) {
	s.accept(start("a"))
	short := saga.Lease{Owner: "silent", For: 50 * time.Millisecond, Limit: 1, Can: []string{can}}
	stale := s.pollLease(short).Claimed[0]
	time.Sleep(100 * time.Millisecond)
	for range 2 { // one may free, the other look again
		s.poll("heir", 0, can)
	}
	s.accept(next(stale, "done"))
	got := s.poll("heir", 10, can).Claimed
	if len(got) != 1 || got[0].Seq != 2 || got[0].Owner != "heir" {
		s.Errorf("the heir claimed %+v", got)
	}
}

// T42: who leaves in order makes nobody wait.
func endedLease(s *suite) {
	s.accept(start("a"))
	s.claim("one", "a")
	s.pollLease(saga.Lease{Owner: "one"})
	if got := s.poll("two", 10, can); !slices.Equal(ids(got.Claimed), []string{"a"}) {
		s.Errorf("claimed %v", ids(got.Claimed))
	}
}

func onlyClaims(s *suite) {
	far := start("far")
	far.WakeIn = time.Hour
	s.accept(far)
	s.accept(start("due"))
	foreign := start("foreign")
	foreign.Summary.Name = "else"
	s.accept(foreign)
	s.accept(start("ended"))
	s.accept(released(next(s.claim("x", "ended"), "done"), saga.Completed, -1))
	for _, id := range []string{"far", "foreign", "ended"} {
		if got := s.claim("o", id); got.Owner != "o" {
			s.Errorf("%s is held by %q", id, got.Owner)
		}
	}
	if got := s.pollLease(saga.Lease{Owner: "o", For: lease, Only: "none", Limit: 10, Can: []string{can}}); len(got.Claimed) != 0 {
		s.Errorf("claimed %v instead", ids(got.Claimed))
	}
	// An ended saga that was claimed ends its claim as it was.
	s.pollLease(saga.Lease{Owner: "o"})
	got := s.poll("p", 10, can)
	if !slices.Equal(sortedIDs(got.Claimed), []string{"due", "far"}) {
		s.Errorf("claimed %v, want due, and far, which a claim made due", ids(got.Claimed))
	}
}

func stuckSleeps(s *suite) {
	s.accept(start("a"))
	s.accept(released(next(s.claim("o", "a"), "stuck"), saga.Stuck, -1))
	s.post("a", saga.Record{Kind: "signal", Code: "x"})
	if got := s.poll("o", 10, can); len(got.Claimed) != 0 {
		s.Error("a stuck saga was claimed because of a message")
	}
	sum := s.claim("o", "a")
	s.accept(released(next(sum, "resolve"), saga.Running, 0))
	if got := s.poll("o", 10, can); len(got.Claimed) != 1 || got.Claimed[0].Mail != 1 {
		s.Errorf("after it was resolved: %+v", got.Claimed)
	}
}
