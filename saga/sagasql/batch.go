package sagasql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/keelson-go/keelson/internal/sqldb"
	"github.com/keelson-go/keelson/saga"
)

// batchStatement is a whole commit on Postgres, one round trip and one transaction. What
// comes back was accepted; the others are looked at one by one. After a deadlock with
// another process it is sent again. Columns travel as the text of arrays, which needs no
// driver's own types.
const batchStatement = `SELECT n, mail, at FROM keelson_saga_commit(
	$1::text::text[], $2::text::text[], $3::text::integer[], $4::text::text[], $5::text::text[], $6::text::text[],
	$7::text::text[], $8::text::integer[], $9::text::text[], $10::text::integer[], $11::text::text[], $12::text::text[], $13::text::boolean[],
	$14::text::text[], $15::text::bigint[], $16::text::bigint[], $17::text::bigint[], $18::text::bigint[], $19::text::boolean[], $20::text::bigint[],
	$21::text::integer[], $22::text::bigint[], $23::text::text[], $24::text::text[], $25::text::text[], $26::text::text[], $27::text::text[],
	$28::text::integer[], $29::text::bigint[], $30::text::integer[], $31::text::text[])`

// encodeBatch returns the statement's parameters.
func encodeBatch(writes []saga.Write, order []int) (args []any) {
	var headers [20]array
	var records [11]array
	for n, i := range order {
		w := &writes[i]
		sum := &w.Summary
		first, last := uint64(0), sum.Seq // of the records; first 0: there are none
		for j := range w.Records {
			r := &w.Records[j]
			first, last = w.Records[0].Seq, r.Seq
			addRow(records[:], n+1, r.Seq, r.Kind, r.Step, r.Code, r.Error, r.Key, r.Attempt, r.Epoch, r.State, string(r.Data))
		}
		anyShape, exact := canNames(sum)
		name, shape, mark := sum.Name, sum.Shape, sum.Fingerprint
		if sum.Epoch > 0 { // what an update leaves as it is need not travel
			name, shape, anyShape, mark = "", "", "", ""
		}
		wake := int64(-1) // never
		if w.WakeIn >= 0 {
			wake = w.WakeIn.Microseconds()
		}
		addRow(headers[:], sum.ID, name, sum.Version, shape, anyShape, exact, mark, sum.State, sum.Step, sum.Attempt,
			sum.Code, sum.Cause, sum.Pivoted, sum.Owner, sum.Epoch, last, first, w.Read, w.Release, wake)
	}
	for _, all := range [][]array{headers[:], records[:]} {
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
// that it accepted. It returns the others, which have to be looked up.
func (s *Store) commitBatch(ctx context.Context, writes []saga.Write, order []int, verdicts []saga.Verdict) (rest []int, err error) {
	args := encodeBatch(writes, order)
	answers := make([]answer, len(order))
	for range 10 {
		clear(answers)
		err = s.queryBatch(ctx, args, answers)
		if !sqldb.SerialFailure(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sagasql: commit: %w", ended(ctx, err))
	}
	for n, i := range order {
		if !answers[n].accepted {
			rest = append(rest, i)
		}
		verdicts[i] = answers[n].Verdict
	}
	return rest, nil
}

// answer is to one write of a batch.
type answer struct {
	saga.Verdict
	accepted bool
}

func (s *Store) queryBatch(ctx context.Context, args []any, answers []answer) error {
	rows, err := s.db.QueryContext(ctx, s.batch, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var n int
	var mail uint64
	var at int64
	for rows.Next() {
		if err := rows.Scan(&n, &mail, &at); err != nil {
			return err
		}
		answers[n-1] = answer{saga.Verdict{Mail: mail, At: timeOf(at)}, true}
	}
	return rows.Err()
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
