package saga_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/verify/internal/pg"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// Batches of all kinds of writes leave and answer what they do in memory, where each
// write is looked at by itself.
func TestBatchesAreAsInMemory(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		for seed := range uint64(2) {
			p := &pair{
				T: t, rnd: rand.New(rand.NewPCG(seed, 1)), owner: "owner-0",
				model: saga.NewMemory(), store: openSQL(t, db, sagasql.Config{Prefix: newPrefix()}),
			}
			for range 25 {
				p.step()
			}
		}
	})
}

// A commit as large as a coordinator's largest, of new sagas alone, of updates alone, and
// of both.
func TestLargestBatches(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		p := &pair{T: t, rnd: rand.New(rand.NewPCG(1, 2)), owner: "owner", model: saga.NewMemory(), store: openSQL(t, db, sagasql.Config{})}
		p.poll(saga.Lease{Owner: p.owner, For: time.Hour})
		for _, n := range []int{512, 512, 1024} {
			var batch []saga.Write
			for i := n - 512; i < n; i++ {
				sum := saga.Summary{ID: fmt.Sprint("s-", i), Name: "order", Version: 1, State: saga.Running, Owner: p.owner, Seq: 1}
				if found, _, _, err := p.model.Load(t.Context(), sum.ID); err == nil {
					sum = found
					sum.Seq++
				}
				batch = append(batch, saga.Write{Summary: sum, Records: []saga.Record{{Kind: "done", Seq: sum.Seq, Epoch: sum.Epoch, State: sum.State}}})
			}
			if n == 1024 { // the first half follows, the second is new, and they alternate
				for i := 0; i < 512; i += 2 {
					sum, _, _, err := p.model.Load(t.Context(), fmt.Sprint("s-", i))
					require.NoError(t, err)
					sum.Seq++
					batch[i] = saga.Write{Summary: sum, Records: []saga.Record{{Kind: "done", Seq: sum.Seq, Epoch: sum.Epoch, State: sum.State}}}
				}
			}
			for i, v := range p.commit(batch) {
				require.NoError(t, v.Err, "write %d of %d", i, n)
			}
		}
	})
}

// statements counts those of a store.
type statements struct{ atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, "keelson_saga") {
		s.Add(1)
	}
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A commit on Postgres is one statement if all writes are accepted, however many records
// they have and messages they have read. Others are looked up, which would hide that all are.
func TestCommitIsOneStatement(t *testing.T) {
	cfg, err := pgx.ParseConfig(pg.Database(t))
	require.NoError(t, err)
	var count statements
	cfg.Tracer = &count
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	store := openSQL(t, db, sagasql.Config{})
	commit := func(batch ...saga.Write) {
		t.Helper()
		before := count.Load()
		verdicts, err := store.Commit(t.Context(), batch)
		require.NoError(t, err)
		for _, v := range verdicts {
			require.NoError(t, v.Err)
		}
		assert.EqualValues(t, 1, count.Load()-before)
	}
	commit(created("a", ""), created("b", ""))
	require.NoError(t, store.Post(t.Context(), "a", saga.Record{Kind: "signal"}))
	a, b := extended("a", ""), extended("b", "")
	a.Summary.Seq, a.Read = 3, 1
	a.Records = append(a.Records, saga.Record{Kind: "done", Seq: 3, Epoch: 1, State: saga.Running})
	b.Summary.Seq, b.Records = 1, nil
	commit(b, created("c", ""), a)
}

// A saga without an owner is nobody's, and due, whoever owns those beside it, and also if
// somebody without a name has a lease.
func TestNobodyOwnsWhatHasNoOwner(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		p := &pair{T: t, model: saga.NewMemory(), store: openSQL(t, db, sagasql.Config{})}
		for _, owner := range []string{"", "o", "p"} {
			p.poll(saga.Lease{Owner: owner, For: time.Hour})
		}
		p.commit([]saga.Write{created("a", "")})
		p.commit([]saga.Write{created("b", "o"), created("c", ""), created("d", "p"), created("e", ""), created("f", "o")})
	})
}

// pair is a store beside the one in memory, which is asked for the same.
type pair struct {
	*testing.T
	rnd          *rand.Rand
	owner        string
	owners       int
	model, store saga.Store
}

// Names that would be something else in the text of an array, if they were not quoted.
var oddIDs = []string{"a", "b", "B", "NULL", "null", `"`, `\`, `\"`, "{", "}", "{}", ",", "'", "$1", "--", "(", ")", `",(`, `\\"`, "%s", "a/b", "~", "z1", "z2", "z3", "z4"}

func (p *pair) step() {
	switch p.rnd.IntN(6) {
	case 0: // its lease ends; another incarnation comes, or none does before the next commit
		p.poll(saga.Lease{Owner: p.owner})
		p.owners++
		p.owner = fmt.Sprint("owner-", p.owners)
	case 1, 2:
		r := saga.Record{Kind: "signal", Code: "go", Key: []string{"", "", "k1", "k2"}[p.rnd.IntN(4)], Data: json.RawMessage(`{"n":1}`)}
		for range 10 {
			id := p.id()
			want, got := p.model.Post(p.Context(), id, r), p.store.Post(p.Context(), id, r)
			p.sameError(want, got, "post to %q", id)
		}
	default:
		for range 5 {
			p.poll(saga.Lease{Owner: p.owner, For: time.Hour, Only: p.id()})
		}
	}
	var batch []saga.Write
	for _, i := range p.rnd.Perm(len(oddIDs))[:p.rnd.IntN(len(oddIDs)+1)] {
		batch = append(batch, p.write(oddIDs[i]))
	}
	p.commit(batch)
}

func (p *pair) id() string { return oddIDs[p.rnd.IntN(len(oddIDs))] }

// one is true once in n.
func (p *pair) one(n int) bool { return p.rnd.IntN(n) == 0 }

// write follows what is there, mostly.
func (p *pair) write(id string) saga.Write {
	sum, _, _, err := p.model.Load(p.Context(), id)
	if err != nil || p.one(8) {
		sum = saga.Summary{ID: id, Name: "order", Version: 1, Shape: "abc", Fingerprint: []string{"f", "f", "g"}[p.rnd.IntN(3)]}
	}
	switch {
	case sum.Epoch == 0 && p.one(4):
		sum.Owner = "nobody"
	case sum.Epoch == 0:
		sum.Owner = p.owner
	case p.one(6):
		sum.Epoch++
	case p.one(10):
		sum.Version++
	}
	text := []string{"", "x", `a "b" \c\`, "{1,NULL}", "NULL", "it's\n", `"`, "(1,)", " é"}[p.rnd.IntN(9)]
	sum.State = saga.State(1 + p.rnd.IntN(7))
	sum.Step, sum.Attempt, sum.Code, sum.Cause, sum.Pivoted = text, p.rnd.IntN(3), text, text, p.one(2)
	w := saga.Write{Release: p.one(2), WakeIn: []time.Duration{-1, 0, time.Hour}[p.rnd.IntN(3)], Read: uint64(p.rnd.IntN(int(sum.Mail) + 1))}
	gap := uint64(0)
	if sum.Epoch > 0 && p.one(6) {
		gap = 1
	}
	records := p.rnd.IntN(4)
	if sum.Epoch == 0 {
		records = max(records, 1)
	}
	for range records {
		sum.Seq++
		w.Records = append(w.Records, saga.Record{
			Kind: "done", Step: text, Code: text, Error: text, Key: text, Attempt: p.rnd.IntN(3), Seq: sum.Seq + gap, Epoch: sum.Epoch, State: sum.State,
			Data: json.RawMessage(`{"a\"b":"\\,{}"}`),
		})
	}
	if records > 0 {
		sum.Seq += gap
	}
	w.Summary = sum
	return w
}

func (p *pair) commit(batch []saga.Write) []saga.Verdict {
	p.Helper()
	want, err := p.model.Commit(p.Context(), copyOf(batch))
	require.NoError(p, err)
	got, err := p.store.Commit(p.Context(), copyOf(batch))
	require.NoError(p, err)
	require.Len(p, got, len(want))
	for i := range want {
		p.sameError(want[i].Err, got[i].Err, "%+v", batch[i])
		require.Equal(p, want[i].Mail, got[i].Mail, "%+v", batch[i])
		require.Equal(p, want[i].Found == nil, got[i].Found == nil, "%+v", batch[i])
		if want[i].Found != nil {
			require.Equal(p, timeless(*want[i].Found), timeless(*got[i].Found))
		}
		require.False(p, got[i].At.IsZero())
		if i%(1+len(want)/64) == 0 { // to read all would take most of the time
			p.sameSaga(batch[i].Summary.ID)
		}
	}
	return got
}

func copyOf(batch []saga.Write) []saga.Write {
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].Records = slices.Clone(batch[i].Records)
	}
	return batch
}

func (p *pair) poll(l saga.Lease) {
	p.Helper()
	want, err := p.model.Poll(p.Context(), l)
	require.NoError(p, err)
	got, err := p.store.Poll(p.Context(), l)
	require.NoError(p, err)
	require.Len(p, got.Claimed, len(want.Claimed))
}

func (p *pair) sameError(want, got error, format string, args ...any) {
	p.Helper()
	if want == nil {
		require.NoError(p, got, fmt.Sprintf(format, args...))
		return
	}
	for _, is := range []error{saga.ErrFenced, saga.ErrNotFound, saga.ErrConflict, saga.ErrTerminal} {
		require.Equal(p, errors.Is(want, is), errors.Is(got, is), "%v in memory, %v here: %s", want, got, fmt.Sprintf(format, args...))
	}
}

// sameSaga compares all but times, and whether it sleeps.
func (p *pair) sameSaga(id string) {
	p.Helper()
	wantSum, wantLog, wantMail, wantErr := p.model.Load(p.Context(), id)
	sum, log, mail, err := p.store.Load(p.Context(), id)
	p.sameError(wantErr, err, "load %q", id)
	assert.Equal(p, wantSum.WakeAt.IsZero(), sum.WakeAt.IsZero(), "%q sleeps for ever: %+v", id, sum)
	require.Equal(p, timeless(wantSum), timeless(sum))
	require.Equal(p, withoutTimes(wantLog), withoutTimes(log), "the log of %q", id)
	require.Equal(p, withoutTimes(wantMail), withoutTimes(mail), "the mail of %q", id)
}

func timeless(s saga.Summary) saga.Summary {
	s.Started, s.Updated, s.WakeAt = time.Time{}, time.Time{}, time.Time{}
	return s
}

func withoutTimes(all []saga.Record) (out []saga.Record) {
	for _, r := range all {
		r.At = time.Time{}
		out = append(out, r)
	}
	return out
}
