package sagasql

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/internal/sqldb"
	"github.com/keelson-go/keelson/saga"
)

// batchStatement is a whole commit on Postgres, one round trip and one transaction. After
// a deadlock with another process it is sent again. Columns travel as the text of arrays,
// and so do the answers, which needs no driver's own types.
const batchStatement = `SELECT at, refused::text, posted::text, mails::text FROM keelson_saga_commit(
	$1::text::text[], $2::text::text[], $3::text::integer[], $4::text::text[], $5::text::integer[], $6::text::text[], $7::text::text[],
	$8::text::boolean[], $9::text::bigint[], $10::text::bigint[], $11::text::bigint[], $12::text::bigint[], $13::text::boolean[], $14::text::bigint[],
	$15::text::text[], $16::text::text[], $17::text::integer[], $18::text::text[], $19::text::text[], $20::text::text[], $21::text::text[],
	$22::text::integer[], $23::text::text[], $24::text::integer[], $25::text::text[], $26::text::text[], $27::text::boolean[], $28::text::text[],
	$29::text::bigint[], $30::text::boolean[], $31::text::bigint[],
	$32::text::integer[], $33::text::bigint[], $34::text::text[], $35::text::text[], $36::text::text[], $37::text::text[], $38::text::text[],
	$39::text::integer[], $40::text::bigint[], $41::text::integer[], $42::text::text[])`

// The columns of its parameters.
const (
	updateParams = 14
	createParams = 17
	recordParams = 11
	batchParams  = updateParams + createParams + recordParams
)

// encodeBatch returns the statement's parameters: updates, new sagas, records. The order
// has updates before new sagas; records name their write by its place in it, from 1.
func encodeBatch(writes []saga.Write, order []int) (args []any) {
	var updates [updateParams]array
	var created [createParams]array
	var records [recordParams]array
	for n, i := range order {
		w := &writes[i]
		sum := &w.Summary
		first, last := uint64(0), sum.Seq // of the records; first 0: there are none
		for j := range w.Records {
			r := &w.Records[j]
			first, last = w.Records[0].Seq, r.Seq
			addRow(records[:], n+1, r.Seq, r.Kind, r.Step, r.Code, r.Error, r.Key, r.Attempt, r.Epoch, r.State, string(r.Data))
		}
		wake := int64(-1) // never
		if w.WakeIn >= 0 {
			wake = w.WakeIn.Microseconds()
		}
		anyShape, exact := canNames(sum)
		if sum.Epoch > 0 {
			addRow(updates[:], sum.ID, exact, sum.State, sum.Step, sum.Attempt, sum.Code, sum.Cause, sum.Pivoted, sum.Epoch, last, first, w.Read, w.Release, wake)
		} else {
			addRow(created[:], sum.ID, sum.Name, sum.Version, sum.Shape, anyShape, exact, sum.Fingerprint,
				sum.State, sum.Step, sum.Attempt, sum.Code, sum.Cause, sum.Pivoted, sum.Owner, last, w.Release, wake)
		}
	}
	args = make([]any, 0, batchParams)
	for _, all := range [][]array{updates[:], created[:], records[:]} {
		for _, a := range all {
			args = append(args, a.String())
		}
	}
	return args
}

// addRow adds a value to each array.
func addRow(arrays []array, values ...any) {
	for i, v := range values {
		arrays[i].add(v)
	}
}

// array is a literal of Postgres, such as {1,2} or {"a","b\"c"}.
type array []byte

func (a *array) add(v any) {
	b := append(*a, ',')
	switch v := v.(type) {
	case string:
		b = append(b, '"')
		for _, c := range []byte(text(v)) {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		b = append(b, '"')
	case bool:
		b = strconv.AppendBool(b, v)
	case int:
		b = strconv.AppendInt(b, int64(v), 10)
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case uint64:
		b = strconv.AppendUint(b, v, 10)
	case saga.State:
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	*a = b
}

func (a array) String() string {
	if len(a) == 0 {
		return "{}"
	}
	a[0] = '{'
	return string(append(a, '}'))
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
