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

// batchStatement is a whole commit on Postgres, one round trip and one transaction:
// rows are updated, mostly in the order of ids, where epoch and seq fit and the
// definition is the same, or inserted; records follow those that were accepted. What
// comes back was accepted; the others are looked at one by one. After a deadlock with
// another process it is sent again. Columns travel as the text of arrays, which needs no
// driver's own types. The server keeps one
// plan for all sizes, made for ten rows: so w is joined to nothing but by the primary
// key, where it would be read once for each of its rows.
const batchStatement = `WITH w AS MATERIALIZED (
	SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::integer[], $4::text::text[], $5::text::text[], $6::text::text[],
		$7::text::text[], $8::text::integer[], $9::text::text[], $10::text::integer[], $11::text::text[], $12::text::text[], $13::text::boolean[],
		$14::text::text[], $15::text::bigint[], $16::text::bigint[], $17::text::bigint[], $18::text::bigint[], $19::text::boolean[], $20::text::bigint[])
		AS x (id, name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted, owner,
			epoch, seq, first, read, release, wake)
), now AS MATERIALIZED (
	SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS t
), own AS MATERIALIZED (
	SELECT o.owner FROM keelson_saga_owner o WHERE o.dead = 0 AND o.owner IN (SELECT owner FROM w WHERE epoch = 0 AND NOT release) FOR SHARE
), upd AS (
	UPDATE keelson_saga s SET state = w.state, step = w.step, attempt = w.attempt, code = w.code, cause = w.cause, pivoted = w.pivoted,
		owner = CASE WHEN w.release THEN NULL ELSE s.owner END, seq = CASE WHEN w.first = 0 THEN s.seq ELSE w.seq END,
		mail_read = greatest(s.mail_read, w.read), claims = 0, updated = now.t,
		wake_at = CASE
			WHEN NOT w.release AND s.owner IS NOT NULL OR w.state >= 4 THEN NULL
			WHEN NOT w.release OR s.mail > greatest(s.mail_read, w.read) THEN now.t
			WHEN w.wake >= 0 THEN now.t + w.wake
		END,
		ended = CASE WHEN w.state >= 5 THEN now.t END
	FROM w CROSS JOIN now
	WHERE w.epoch > 0 AND s.id = w.id AND s.epoch = w.epoch AND (w.first = 0 OR w.first = s.seq + 1) AND s.can_exact = w.can_exact
	RETURNING s.id, s.mail, w.read
), ins AS (
	INSERT INTO keelson_saga (id, name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted,
		owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at, ended)
	SELECT w.id, w.name, w.version, w.shape, w.can_any, w.can_exact, w.fingerprint, w.state, w.step, w.attempt, w.code, w.cause, w.pivoted,
		own.owner, 1, w.seq, 0, 0, 0, now.t, now.t,
		CASE
			WHEN own.owner IS NOT NULL OR w.state >= 4 THEN NULL
			WHEN NOT w.release THEN now.t
			WHEN w.wake >= 0 THEN now.t + w.wake
		END,
		CASE WHEN w.state >= 5 THEN now.t END
	FROM w CROSS JOIN now LEFT JOIN own ON own.owner = w.owner AND NOT w.release
	WHERE w.epoch = 0 ORDER BY w.id
	ON CONFLICT (id) DO NOTHING
	RETURNING id, mail
), accepted AS (
	SELECT id, mail FROM upd UNION ALL SELECT id, mail FROM ins
), gone AS (
	DELETE FROM keelson_saga_mail m USING upd WHERE upd.read > 0 AND m.id = upd.id AND m.seq <= upd.read AND m.key = ''
), rec AS (
	INSERT INTO keelson_saga_record (id, seq, kind, step, code, error, key, attempt, epoch, state, at, data)
	SELECT r.id, r.seq, r.kind, r.step, r.code, r.error, r.key, r.attempt, r.epoch, r.state, now.t, r.data
	FROM unnest($21::text::text[], $22::text::bigint[], $23::text::text[], $24::text::text[], $25::text::text[], $26::text::text[], $27::text::text[],
		$28::text::integer[], $29::text::bigint[], $30::text::integer[], $31::text::text[])
		AS r (id, seq, kind, step, code, error, key, attempt, epoch, state, data)
	JOIN accepted ON accepted.id = r.id CROSS JOIN now
)
SELECT accepted.id, accepted.mail, now.t FROM accepted CROSS JOIN now`

// encodeBatch returns the statement's parameters.
func encodeBatch(writes []saga.Write, order []int) (args []any) {
	var headers [20]array
	var records [11]array
	for _, i := range order {
		w := &writes[i]
		sum := &w.Summary
		first, last := uint64(0), sum.Seq // of the records; first 0: there are none
		for j := range w.Records {
			r := &w.Records[j]
			first, last = w.Records[0].Seq, r.Seq
			addRow(records[:], sum.ID, r.Seq, r.Kind, r.Step, r.Code, r.Error, r.Key, r.Attempt, r.Epoch, r.State, string(r.Data))
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
	accepted := map[string]saga.Verdict{}
	for range 10 {
		clear(accepted)
		err = s.queryBatch(ctx, s.batch, args, accepted)
		if !sqldb.SerialFailure(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sagasql: commit: %w", ended(ctx, err))
	}
	for _, i := range order {
		v, ok := accepted[writes[i].Summary.ID]
		if !ok {
			rest = append(rest, i)
		}
		verdicts[i] = v
	}
	return rest, nil
}

func (s *Store) queryBatch(ctx context.Context, query string, args []any, accepted map[string]saga.Verdict) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var v saga.Verdict
		var at int64
		if err := rows.Scan(&id, &v.Mail, &at); err != nil {
			return err
		}
		v.At = timeOf(at)
		accepted[id] = v
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
