package sagatest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keelson-go/keelson/saga"
)

func createOnce(s *suite) {
	before := time.Now().Add(-time.Hour)
	if v := s.accept(start("a")); v.Found != nil || v.At.Before(before) {
		s.Errorf("verdict %+v", v)
	}
	v := s.accept(start("a")) // the reply may have been lost
	if v.Found == nil || v.Found.ID != "a" || v.Found.Seq != 1 {
		s.Errorf("the repeat found %+v", v.Found)
	}
	sum, log, mail := s.load("a")
	if len(log) != 1 || len(mail) != 0 || sum.Epoch != 1 || sum.Seq != 1 || sum.Owner != "" || sum.Name != "order" ||
		sum.Version != 1 || sum.Shape != "abc" || sum.Fingerprint != "f-a" || sum.State != saga.Running || sum.Step != "pay" {
		s.Errorf("stored %+v with %d records", sum, len(log))
	}
	if sum.Started.IsZero() || sum.Updated.Before(sum.Started) {
		s.Errorf("started %v, updated %v", sum.Started, sum.Updated)
	}
	if _, _, _, err := s.store.Load(s.ctx, "b"); !is(err, saga.ErrNotFound) {
		s.Errorf("Load of nothing: %v", err)
	}
}

func createConflicts(s *suite) {
	s.accept(start("a"))
	other := start("a")
	other.Summary.Fingerprint = "other"
	v := s.commit(other)[0]
	if !is(v.Err, saga.ErrConflict) || v.Found == nil || v.Found.Fingerprint != "f-a" {
		s.Errorf("verdict %+v", v)
	}
	// In every state, the last one too.
	s.accept(released(next(s.claim("o", "a"), "done"), saga.Completed, -1))
	s.refused(other, saga.ErrConflict)
	if v := s.accept(start("a")); v.Found == nil || v.Found.State != saga.Completed {
		s.Errorf("the repeat after the end found %+v", v.Found)
	}
}

// T16: a saga created under an owner that is gone is claimable, not orphaned.
func createUnderDeadOwner(s *suite) {
	s.poll("gone", 0)
	s.pollLease(saga.Lease{Owner: "gone"})
	w := start("a")
	w.Summary.Owner, w.Release = "gone", false
	s.accept(w)
	s.poll("lives", 0)
	w = start("b")
	w.Summary.Owner, w.Release = "lives", false
	s.accept(w)
	if sum, _, _ := s.load("b"); sum.Owner != "lives" || sum.Epoch != 1 {
		s.Errorf("created by a live owner: %+v", sum)
	}
	if got := s.poll("other", 10, can); len(got.Claimed) != 1 || got.Claimed[0].ID != "a" {
		s.Errorf("claimed %v, want a alone", ids(got.Claimed))
	}
}

// T5: an append extends what is there.
func appendMustFollow(s *suite) {
	s.accept(start("a"))
	sum := s.claim("o", "a")
	gap := sum
	gap.Seq++
	s.refused(next(gap, "done"), saga.ErrFenced)
	back := sum
	back.Seq--
	s.refused(next(back, "done"), saga.ErrFenced)
	s.accept(next(sum, "done"))
	other := next(sum, "fail") // another record in its place
	s.refused(other, saga.ErrFenced)
	if _, log, _ := s.load("a"); len(log) != 2 || log[1].Kind != "done" {
		s.Errorf("log %v", log)
	}
}

func appendNeedsTheEpoch(s *suite) {
	s.accept(start("a"))
	old := s.claim("one", "a")
	s.pollLease(saga.Lease{Owner: "one"})
	now := s.claim("two", "a")
	if now.Epoch <= old.Epoch {
		s.Fatalf("epoch %d after %d", now.Epoch, old.Epoch)
	}
	s.refused(next(old, "done"), saga.ErrFenced)
	noRecords := next(old, "done")
	noRecords.Records, noRecords.Summary.Seq, noRecords.Release = nil, old.Seq, true
	s.refused(noRecords, saga.ErrFenced)
	s.accept(next(now, "done"))
	if sum, _, _ := s.load("a"); sum.Owner != "two" {
		s.Errorf("owner %q", sum.Owner)
	}
}

// T4: the repeat of a write whose reply was lost succeeds for its own writer and
// is fenced for any other.
func repeatedWrite(s *suite) {
	s.accept(start("a"))
	sum := s.claim("one", "a")
	w := next(sum, "done")
	s.accept(w)
	s.accept(w)
	sum.Seq++
	gone := released(next(sum, "park"), saga.Waiting, 0)
	s.accept(gone)
	later := s.claim("two", "a")
	s.accept(gone) // it is in the log, whoever holds the saga now
	imposter := gone
	imposter.Records = []saga.Record{gone.Records[0]}
	imposter.Records[0].Data = json.RawMessage(`{"other":1}`)
	s.refused(imposter, saga.ErrFenced)
	// The same work by another owner: its writer must not take it for its own.
	imposter.Summary.Epoch, imposter.Records[0] = later.Epoch, gone.Records[0]
	imposter.Records[0].Epoch = later.Epoch
	s.refused(imposter, saga.ErrFenced)
	got, log, _ := s.load("a")
	if len(log) != 3 || got.Owner != "two" || got.Epoch != later.Epoch {
		s.Errorf("%d records, held by %q at %d", len(log), got.Owner, got.Epoch)
	}
}

// T31: who only goes on learns of a message from its own append.
func appendTellsOfMessages(s *suite) {
	s.accept(start("a"))
	sum := s.claim("o", "a")
	for i := range uint64(3) {
		if v := s.accept(next(sum, "done")); v.Mail != i {
			s.Errorf("append %d says that %d messages were posted", i, v.Mail)
		}
		sum.Seq++
		s.post("a", saga.Record{Kind: "signal", Code: "go"})
	}
}

// A newer version goes on with a saga: from its first append on the saga is its own.
func appendMayRedefine(s *suite) {
	s.accept(start("a"))
	sum := s.claim("o", "a")
	sum.Version, sum.Shape = 2, "def"
	s.accept(next(sum, "resume"))
	if got, _, _ := s.load("a"); got.Version != 2 || got.Shape != "def" || got.Seq != 2 || got.Owner != "o" {
		s.Errorf("stored %+v", got)
	}
	s.pollLease(saga.Lease{Owner: "o"})
	if got := s.poll("old", 10, can); len(got.Claimed) != 0 || got.Foreign != 1 {
		s.Errorf("the old version claimed %v, foreign %d", ids(got.Claimed), got.Foreign)
	}
	if got := s.poll("new", 10, "order@2/def"); len(got.Claimed) != 1 {
		s.Errorf("the new version claimed %v", ids(got.Claimed))
	}
}

// T16: an append that does not give up a saga which nobody holds makes it due, also if
// it slept till a message: nobody else would run it.
func appendToParked(s *suite) {
	s.accept(start("a"))
	sum := s.claim("o", "a")
	s.accept(released(next(sum, "stuck"), saga.Stuck, -1))
	sum.Seq++
	s.accept(next(sum, "resolve"))
	if got := s.poll("heir", 10, can); len(got.Claimed) != 1 || got.Claimed[0].Seq != 3 {
		s.Errorf("claimed %+v", got.Claimed)
	}
}

func appendNeverCreates(s *suite) {
	w := next(saga.Summary{ID: "a", Name: "order", Version: 1, Epoch: 1, State: saga.Running}, "done")
	s.refused(w, saga.ErrNotFound)
	if _, _, _, err := s.store.Load(s.ctx, "a"); !is(err, saga.ErrNotFound) {
		s.Errorf("an append created its saga: %v", err)
	}
}

// T37: one refused write does not fail its batch, and text is what texts are.
func batches(s *suite) {
	var all []saga.Write
	for i := range 200 {
		all = append(all, start(fmt.Sprintf("s%03d", i)))
	}
	for i, v := range s.commit(all...) {
		if v.Err != nil {
			s.Errorf("create %d: %v", i, v.Err)
		}
	}
	var appends []saga.Write
	for i := range 200 {
		sum := s.claim("o", fmt.Sprintf("s%03d", i))
		if i%3 == 0 {
			sum.Epoch-- // a stale owner
		}
		appends = append(appends, next(sum, "done"))
	}
	appends = append(appends, start("new"), next(saga.Summary{ID: "none", Name: "order", Epoch: 1}, "done"))
	for i, v := range s.commit(appends...) {
		var want error
		switch {
		case i == 201:
			want = saga.ErrNotFound
		case i < 200 && i%3 == 0:
			want = saga.ErrFenced
		}
		if !is(v.Err, want) {
			s.Errorf("write %d: %v, want %v", i, v.Err, want)
		}
	}
}

func recordsRoundTrip(s *suite) {
	w := start("a/b:~!")
	text := strings.Repeat("ü\u2028'\"\\{}[],%$?1\n\t", 100)
	w.Summary.Code, w.Summary.Cause, w.Summary.Pivoted = "code 'x'", text, true
	w.Records[0].Data, _ = json.Marshal(map[string]string{"nul": "a\x00b", "text": text, "big": "12345678901234567890.1e400"})
	w.Records = append(w.Records, saga.Record{
		Kind: "fail", Step: "pay", Code: "code", Error: text, Key: text, Attempt: 7, Seq: 2, Epoch: 1, State: saga.Compensating,
		Data: json.RawMessage(`{"z":1,"a":1.50,"dup":{"x":"\u0000"}}`),
	})
	w.Summary.Seq, w.Summary.Attempt, w.Summary.State = 2, 7, saga.Compensating
	s.accept(w)
	sum, log, _ := s.load("a/b:~!")
	if sum.Cause != text || sum.Code != "code 'x'" || !sum.Pivoted || sum.Attempt != 7 || sum.State != saga.Compensating {
		s.Errorf("header %+v", sum)
	}
	if len(log) != 2 {
		s.Fatalf("%d records", len(log))
	}
	for i, got := range log {
		want := w.Records[i]
		if got.Saga != "a/b:~!" || got.Name != "order" || got.At.IsZero() {
			s.Errorf("record %d: saga %q, name %q, at %v", i, got.Saga, got.Name, got.At)
		}
		// Byte by byte: a store that normalises JSON would lose digits and order.
		if !bytes.Equal(got.Data, want.Data) {
			s.Errorf("data %s, want %s", got.Data, want.Data)
		}
		got.Saga, got.Name, got.At, got.Data, want.Data = "", "", time.Time{}, nil, nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("record %+v, want %+v", got, want)
		}
	}
	log[0].Data[0] = 'x' // what is returned belongs to the caller
	if _, again, _ := s.load("a/b:~!"); again[0].Data[0] != '{' {
		s.Error("the store shares its bytes with a caller")
	}
}
