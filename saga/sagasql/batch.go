package sagasql

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/keelson-go/keelson/internal/sqldb"
	"github.com/keelson-go/keelson/saga"
)

// batchStatement is a whole commit on Postgres, one round trip and one transaction. After
// a deadlock with another process it is sent again. What it says travels as the text of
// arrays, and so do the answers, which needs no driver's own types.
const batchStatement = `SELECT at, refused::text, posted::text, mails::text FROM keelson_saga_commit(
	$1::text::keelson_saga_update[], $2::text::keelson_saga_new[], $3::text::text[], $4::text::keelson_saga_entry[])`

// batchParams is how many parameters the function has.
const batchParams = 4

// encodeBatch returns the statement's parameters: updates, new sagas and their owners,
// records. The order has updates before new sagas; records name their write by its place
// in it, from 1. It takes its time while nobody else commits, so it makes nothing twice,
// and uses the memory of the batch before: 6 % of a saga of four steps.
func encodeBatch(writes []saga.Write, order []int) []any {
	all := literals.Get().(*[batchParams]literal) //nolint:errcheck // nothing else is in it
	defer keep(all)
	updates, created, owners, records := &all[0], &all[1], &all[2], &all[3]
	var names definition
	owner := "" // of the last new saga
	for n, i := range order {
		w := &writes[i]
		sum := &w.Summary
		first, last := uint64(0), sum.Seq // of the records; first 0: there are none
		for j := range w.Records {
			r := &w.Records[j]
			first, last = w.Records[0].Seq, r.Seq
			records.begin().int(int64(n + 1)).text(sum.ID).uint(r.Seq).text(r.Kind).text(r.Step).text(r.Code).text(r.Error).text(r.Key).
				int(int64(r.Attempt)).uint(r.Epoch).uint(uint64(r.State)).text(string(r.Data)).end()
		}
		wake := int64(-1) // never
		if w.WakeIn >= 0 {
			wake = w.WakeIn.Microseconds()
		}
		names.of(sum)
		if sum.Epoch > 0 {
			updates.begin().text(sum.ID).text(names.exact).stand(sum).
				uint(sum.Epoch).uint(last).uint(first).uint(w.Read).bool(w.Release).int(wake).end()
			continue
		}
		created.begin().text(sum.ID).text(sum.Name).int(int64(sum.Version)).text(sum.Shape).text(names.anyShape).text(names.exact).text(sum.Fingerprint).stand(sum).
			text(sum.Owner).uint(last).bool(w.Release).int(wake).end()
		if sum.Owner != "" && sum.Owner != owner {
			owner = sum.Owner
			owners.element(owner)
		}
	}
	return []any{updates.String(), created.String(), owners.String(), records.String()}
}

var literals = sync.Pool{New: func() any { return new([batchParams]literal) }}

// keep makes the literals empty for the next batch; large ones go.
func keep(all *[batchParams]literal) {
	for i, l := range all {
		if all[i] = l[:0]; cap(l) > 1<<20 {
			all[i] = nil
		}
	}
	literals.Put(all)
}

// definition keeps what canNames returns: most sagas of a batch have one.
type definition struct {
	name            string
	version         int
	shape           string
	anyShape, exact string
}

func (d *definition) of(s *saga.Summary) {
	if d.exact == "" || d.name != s.Name || d.version != s.Version || d.shape != s.Shape {
		d.name, d.version, d.shape = s.Name, s.Version, s.Shape
		d.anyShape, d.exact = canNames(s)
	}
}

// commitBatch sends the writes in one statement and fills in the verdicts of those
// that it accepted. It returns the others, which have to be looked up, in the order in
// which the statement takes rows.
func (s *Store) commitBatch(ctx context.Context, writes []saga.Write, order []int, verdicts []saga.Verdict) (rest []int, err error) {
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(creates(&writes[a]), creates(&writes[b])) })
	args := encodeBatch(writes, order)
	var at int64
	var refused, posted, mails numbers
	for range 10 {
		err = s.db.QueryRowContext(ctx, s.batch, args...).Scan(&at, &refused, &posted, &mails)
		if !sqldb.SerialFailure(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sagasql: commit: %w", ended(ctx, err))
	}
	for _, i := range order {
		verdicts[i].At = timeOf(at)
	}
	for k, n := range posted {
		verdicts[order[n-1]].Mail = mails[k]
	}
	for _, n := range refused {
		rest = append(rest, order[n-1])
	}
	return rest, nil
}

// creates is 1 for a new saga, which is numbered behind those that are there.
func creates(w *saga.Write) int {
	if w.Summary.Epoch == 0 {
		return 1
	}
	return 0
}

// numbers is an array of Postgres, such as {1,2}.
type numbers []uint64

// Scan implements [sql.Scanner]. What it cannot read is an error: a write that is missing
// among the refused ones would count as stored.
func (ns *numbers) Scan(src any) error {
	var text sql.NullString
	if err := text.Scan(src); err != nil {
		return err
	}
	*ns = nil
	if text.String == "{}" {
		return nil
	}
	for part := range strings.SplitSeq(strings.Trim(text.String, "{}"), ",") {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no array of numbers: %w", text.String, err)
		}
		*ns = append(*ns, n)
	}
	return nil
}

// byID is the order in which rows are taken, so that two commits do not wait for
// each other. Twins: an id occurs twice.
func byID(writes []saga.Write) (order []int, twins bool) {
	order = make([]int, len(writes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(writes[a].Summary.ID, writes[b].Summary.ID) })
	for i := 1; i < len(order); i++ {
		twins = twins || writes[order[i-1]].Summary.ID == writes[order[i]].Summary.ID
	}
	return order, twins
}
