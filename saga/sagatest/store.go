package sagatest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keelson-go/keelson/saga"
)

// TestStore runs the contract of [saga.Store]. Open returns an empty store and is
// called once per case. A case waits for real time, at most a few seconds in all.
func TestStore(t *testing.T, open func(t *testing.T) saga.Store) {
	for _, c := range []struct {
		name string
		run  func(s *suite)
	}{
		{"CreateOnce", createOnce},
		{"CreateConflictsWithOtherInput", createConflicts},
		{"CreateUnderADeadOwnerIsClaimable", createUnderDeadOwner},
		{"AppendMustFollow", appendMustFollow},
		{"AppendNeedsTheEpoch", appendNeedsTheEpoch},
		{"RepeatedWriteIsAccepted", repeatedWrite},
		{"AppendTellsOfMessages", appendTellsOfMessages},
		{"AppendMayRedefine", appendMayRedefine},
		{"AppendToAParkedSagaMakesItDue", appendToParked},
		{"AppendNeverCreates", appendNeverCreates},
		{"BatchesAreJudgedOneByOne", batches},
		{"RecordsRoundTrip", recordsRoundTrip},
		{"DueSagasAreClaimedInOrder", dueOrder},
		{"OnlyWhatItCanIsClaimed", onlyWhatItCan},
		{"NextTellsWhenToLookAgain", nextTells},
		{"OwnedSagasAreLeftAlone", ownedAreLeftAlone},
		{"SilentOwnersLoseTheirSagas", silentOwners},
		{"EmptyWriteCountsClaimsAnew", emptyWrite},
		{"ReapedOwnerIsFenced", reapedOwner},
		{"LateWriteOfAReapedOwnerOrphansNothing", lateWrite},
		{"EndedLeaseFreesAtOnce", endedLease},
		{"OnlyClaimsOneAlone", onlyClaims},
		{"MessagesWakeAndAreReadOnce", messages},
		{"MessageBeforeReleaseKeepsItDue", messageBeforeRelease},
		{"KeysCountOnce", keysCountOnce},
		{"MessagesToTheDead", messagesToTheDead},
		{"StuckSleepsUntilTold", stuckSleeps},
		{"ListFilters", listFilters},
		{"ListHoldsNoLock", listHoldsNoLock},
		{"EndedContexts", endedContexts},
		{"PurgeForgetsTheEndedAlone", purge},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(&suite{T: t, store: open(t), ctx: t.Context()}) })
	}
}

const (
	can   = "order@1/abc"
	lease = time.Minute
)

type suite struct {
	*testing.T
	store saga.Store
	ctx   context.Context
}

func (s *suite) commit(w ...saga.Write) []saga.Verdict {
	s.Helper()
	v, err := s.store.Commit(s.ctx, w)
	if err != nil {
		s.Fatalf("Commit: %v", err)
	}
	if len(v) != len(w) {
		s.Fatalf("%d verdicts on %d writes", len(v), len(w))
	}
	return v
}

// accept commits one write that must be accepted.
func (s *suite) accept(w saga.Write) saga.Verdict {
	s.Helper()
	v := s.commit(w)[0]
	if v.Err != nil {
		s.Fatalf("%s was refused: %v", w.Summary.ID, v.Err)
	}
	return v
}

func (s *suite) refused(w saga.Write, want error) {
	s.Helper()
	if v := s.commit(w)[0]; !errors.Is(v.Err, want) {
		s.Errorf("%s: verdict %v, want %v", w.Summary.ID, v.Err, want)
	}
}

func (s *suite) poll(owner string, limit int, names ...string) saga.Work {
	s.Helper()
	return s.pollLease(saga.Lease{Owner: owner, For: lease, Limit: limit, Can: names})
}

func (s *suite) pollLease(l saga.Lease) saga.Work {
	s.Helper()
	w, err := s.store.Poll(s.ctx, l)
	if err != nil {
		s.Fatalf("Poll: %v", err)
	}
	return w
}

// claim claims one saga for the owner.
func (s *suite) claim(owner, id string) saga.Summary {
	s.Helper()
	w := s.pollLease(saga.Lease{Owner: owner, For: lease, Only: id})
	if len(w.Claimed) != 1 || w.Claimed[0].ID != id {
		s.Fatalf("claiming %s gave %v", id, w.Claimed)
	}
	return w.Claimed[0]
}

func (s *suite) load(id string) (saga.Summary, []saga.Record, []saga.Record) {
	s.Helper()
	sum, log, mail, err := s.store.Load(s.ctx, id)
	if err != nil {
		s.Fatalf("Load %s: %v", id, err)
	}
	return sum, log, mail
}

func (s *suite) post(id string, r saga.Record) {
	s.Helper()
	if err := s.store.Post(s.ctx, id, r); err != nil {
		s.Fatalf("Post to %s: %v", id, err)
	}
}

// start is the write that creates a saga.
func start(id string) saga.Write {
	return saga.Write{
		Summary: saga.Summary{
			ID: id, Name: "order", Version: 1, Shape: "abc", Fingerprint: "f-" + id, State: saga.Running, Step: "pay", Seq: 1,
		},
		Records: []saga.Record{{Kind: "start", Key: "pay+ ship", Seq: 1, State: saga.Running, Data: json.RawMessage(`{"n":1}`)}},
		Release: true,
	}
}

// next extends a saga by one record.
func next(sum saga.Summary, kind string) saga.Write {
	sum.Seq++
	return saga.Write{Summary: sum, Records: []saga.Record{{
		Kind: kind, Step: "pay", Seq: sum.Seq, Epoch: sum.Epoch, Attempt: 1, State: sum.State, Data: json.RawMessage(fmt.Sprintf(`{"set":{"n":%d}}`, sum.Seq)),
	}}}
}

// released gives the saga up.
func released(w saga.Write, state saga.State, in time.Duration) saga.Write {
	w.Summary.State = state
	for i := range w.Records {
		w.Records[i].State = state
	}
	w.Release, w.WakeIn = true, in
	return w
}

func ids(all []saga.Summary) (out []string) {
	for _, s := range all {
		out = append(out, s.ID)
	}
	return out
}
