package sagatest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keelson-go/keelson/saga"
)

func messages(s *suite) {
	far := start("a")
	far.WakeIn = time.Hour
	s.accept(far)
	s.post("a", saga.Record{Kind: "signal", Code: "go", Data: json.RawMessage(`{"n":1}`)})
	got := s.poll("o", 10, can)
	if len(got.Claimed) != 1 || got.Claimed[0].Mail != 1 || !slices.Equal(got.Mail, []string{"a"}) {
		s.Fatalf("a message made it due: %+v, mail for %v", got.Claimed, got.Mail)
	}
	s.post("a", saga.Record{Kind: "cancel", Error: "why 'not'"})
	if got := s.poll("o", 10, can); !slices.Equal(got.Mail, []string{"a"}) {
		s.Errorf("mail for %v", got.Mail)
	}
	sum, _, mail := s.load("a")
	if len(mail) != 2 || mail[0].Seq != 1 || mail[1].Seq != 2 || mail[0].Code != "go" || !bytes.Equal(mail[0].Data, []byte(`{"n":1}`)) ||
		mail[1].Kind != "cancel" || mail[1].Error != "why 'not'" || mail[0].At.IsZero() || mail[0].Saga != "a" {
		s.Errorf("mail %+v", mail)
	}
	w := next(sum, "signal")
	w.Read = 1
	if v := s.accept(w); v.Mail != 2 {
		s.Errorf("a write says %d messages were posted", v.Mail)
	}
	if _, _, mail := s.load("a"); len(mail) != 1 || mail[0].Seq != 2 {
		s.Errorf("unread are %+v", mail)
	}
	sum.Seq++
	w = next(sum, "cancel")
	w.Read = 2
	s.accept(w)
	if got := s.poll("o", 10, can); len(got.Mail) != 0 {
		s.Errorf("all is read, and there is mail for %v", got.Mail)
	}
}

// T14: a message between the last look and the release is not slept over.
func messageBeforeRelease(s *suite) {
	s.accept(start("a"))
	sum := s.claim("o", "a")
	s.post("a", saga.Record{Kind: "signal", Code: "go"})
	v := s.accept(released(next(sum, "park"), saga.Waiting, -1))
	if v.Mail != 1 {
		s.Errorf("the release says %d messages were posted", v.Mail)
	}
	if got := s.poll("o", 10, can); !slices.Equal(ids(got.Claimed), []string{"a"}) {
		s.Errorf("claimed %v", ids(got.Claimed))
	}
}

func keysCountOnce(s *suite) {
	s.accept(start("a"))
	for range 3 {
		s.post("a", saga.Record{Kind: "signal", Code: "go", Key: "k1"})
		s.post("a", saga.Record{Kind: "signal", Code: "go"})
	}
	sum, _, mail := s.load("a")
	if len(mail) != 4 || sum.Mail != 4 {
		s.Fatalf("%d messages, Mail %d: want one with the key and three without", len(mail), sum.Mail)
	}
	w := next(s.claim("o", "a"), "signal")
	w.Read = 4
	s.accept(w)
	s.post("a", saga.Record{Kind: "signal", Code: "go", Key: "k1"}) // known although read
	if _, _, mail := s.load("a"); len(mail) != 0 {
		s.Errorf("unread: %+v", mail)
	}
	s.accept(start("b"))
	s.post("b", saga.Record{Kind: "signal", Code: "go", Key: "k1"})
	if _, _, mail := s.load("b"); len(mail) != 1 {
		s.Error("a key of one saga counts for another")
	}
}

func messagesToTheDead(s *suite) {
	post := func(id string) error { return s.store.Post(s.ctx, id, saga.Record{Kind: "signal", Code: "go"}) }
	if err := post("none"); !is(err, saga.ErrNotFound) {
		s.Errorf("to nobody: %v", err)
	}
	s.accept(start("a"))
	s.accept(released(next(s.claim("o", "a"), "done"), saga.Completed, -1))
	if err := post("a"); !is(err, saga.ErrTerminal) {
		s.Errorf("to an ended saga: %v", err)
	}
	s.accept(start("full"))
	var err error
	for range 1001 {
		if err = post("full"); err != nil {
			break
		}
	}
	if sum, _, mail := s.load("full"); !is(err, saga.ErrConflict) || len(mail) != 1000 || sum.Mail != 1000 {
		s.Errorf("beyond 1000 unread: %v, %d are there", err, len(mail))
	}
}

func listFilters(s *suite) {
	for i := range 10 {
		w := start(fmt.Sprintf("s%d", i))
		if i%2 == 1 {
			w.Summary.Name = "odd"
		}
		s.accept(w)
	}
	s.accept(released(next(s.claim("o", "s4"), "done"), saga.Completed, -1))
	for _, c := range []struct {
		f    saga.Filter
		want string
	}{
		{saga.Filter{}, "[s0 s1 s2 s3 s4 s5 s6 s7 s8 s9]"},
		{saga.Filter{Limit: 2}, "[s0 s1]"},
		{saga.Filter{After: "s7"}, "[s8 s9]"},
		{saga.Filter{Names: []string{"odd"}, Limit: 2, After: "s1"}, "[s3 s5]"},
		{saga.Filter{IDs: []string{"s9", "s1", "none", "s1"}}, "[s1 s9]"},
		{saga.Filter{IDs: []string{"s9", "s4"}, States: []saga.State{saga.Completed}}, "[s4]"},
		{saga.Filter{States: []saga.State{saga.Stuck, saga.Waiting}}, "[]"},
		{saga.Filter{Names: []string{"order", "odd"}, States: []saga.State{saga.Running}, After: "s5"}, "[s6 s7 s8 s9]"},
		{saga.Filter{Idle: time.Hour}, "[]"},
		{saga.Filter{Idle: time.Nanosecond, Limit: 1}, "[s0]"},
	} {
		if got := fmt.Sprint(ids(s.list(c.f))); got != c.want {
			s.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
}

func (s *suite) list(f saga.Filter) (all []saga.Summary) {
	s.Helper()
	for sum, err := range s.store.List(s.ctx, f) {
		if err != nil {
			s.Fatalf("List: %v", err)
		}
		all = append(all, sum)
	}
	return all
}

func listHoldsNoLock(s *suite) {
	for i := range 5 {
		s.accept(start(fmt.Sprint(i)))
	}
	n := 0
	for sum, err := range s.store.List(s.ctx, saga.Filter{}) {
		if err != nil {
			s.Fatalf("List: %v", err)
		}
		s.accept(next(s.claim("o", sum.ID), "done"))
		if n++; n == 3 {
			break
		}
	}
}

func endedContexts(s *suite) {
	cause := errors.New("the caller gives up")
	ctx, cancel := context.WithCancelCause(s.ctx)
	cancel(cause)
	s.accept(start("a"))
	_, err := s.store.Commit(ctx, []saga.Write{start("b")})
	_, err2 := s.store.Poll(ctx, saga.Lease{Owner: "o", For: lease})
	_, _, _, err3 := s.store.Load(ctx, "a")
	err4 := s.store.Post(ctx, "a", saga.Record{Kind: "signal"})
	var err5 error
	for _, err5 = range s.store.List(ctx, saga.Filter{}) {
	}
	for i, err := range []error{err, err2, err3, err4, err5} {
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			s.Errorf("call %d returned %v", i, err)
		}
	}
}

// T6: Purge looks at the state itself, and forgets nothing that could still run.
func purge(s *suite) {
	p, ok := s.store.(interface {
		Purge(ctx context.Context, olderThan time.Duration, limit int) (int, error)
	})
	if !ok {
		s.Log("this store has no Purge")
		return
	}
	for i, state := range []saga.State{saga.Running, saga.Waiting, saga.Compensating, saga.Stuck, saga.Completed, saga.Compensated, saga.Abandoned} {
		id := fmt.Sprint(i)
		s.accept(start(id))
		s.accept(released(next(s.claim("o", id), "done"), state, -1))
	}
	s.accept(start("reversed"))
	for _, state := range []saga.State{saga.Completed, saga.Compensating} {
		s.accept(released(next(s.claim("o", "reversed"), "done"), state, -1))
	}
	if n, err := p.Purge(s.ctx, time.Hour, 100); n != 0 || err != nil {
		s.Errorf("Purge of what is an hour old: %d, %v", n, err)
	}
	total := 0
	for range 3 {
		n, err := p.Purge(s.ctx, 0, 2)
		if err != nil || n > 2 {
			s.Errorf("Purge: %d, %v", n, err)
		}
		total += n
	}
	if left := fmt.Sprint(ids(s.list(saga.Filter{}))); total != 3 || left != "[0 1 2 3 reversed]" {
		s.Errorf("%d purged, %s left", total, left)
	}
	if v := s.accept(start("5")); v.Found != nil {
		s.Error("the id of a forgotten saga is not free")
	}
}

// TestReopen runs what a durable store promises on top: it is opened again, after
// no Close, and everything that was acknowledged is there. Open is called several
// times with one directory.
func TestReopen(t *testing.T, open func(t *testing.T, dir string) saga.Store) {
	dir := t.TempDir()
	s := &suite{T: t, store: open(t, dir), ctx: t.Context()}
	for i := range 20 {
		s.accept(start(fmt.Sprintf("s%02d", i)))
	}
	held := s.claim("dies", "s01")
	s.accept(next(held, "done"))
	s.accept(released(next(s.claim("dies", "s02"), "done"), saga.Completed, -1))
	s.post("s03", saga.Record{Kind: "signal", Code: "go", Key: "k"})
	parked := start("far")
	parked.WakeIn = time.Hour
	s.accept(parked)

	s.store = open(t, dir)
	if got := s.list(saga.Filter{}); len(got) != 21 {
		t.Errorf("%d sagas came back", len(got))
	}
	sum, log, _ := s.load("s01")
	if len(log) != 2 || sum.Seq != 2 {
		t.Errorf("s01 came back as %+v with %d records", sum, len(log))
	}
	if sum, _, _ := s.load("s02"); sum.State != saga.Completed {
		t.Errorf("s02 came back %v", sum.State)
	}
	s.post("s03", saga.Record{Kind: "signal", Code: "go", Key: "k"})
	if _, _, mail := s.load("s03"); len(mail) != 1 {
		t.Errorf("the mail of s03 is %+v", mail)
	}
	s.refused(next(saga.Summary{ID: "s01", Name: "order", Epoch: held.Epoch - 1, Seq: 2}, "done"), saga.ErrFenced)
	v := s.accept(start("s04"))
	if v.Found == nil {
		t.Error("a create that was acknowledged was made again")
	}
}
