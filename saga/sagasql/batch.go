package sagasql

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/internal/sqldb"
	"github.com/keelson-go/keelson/saga"
)

// batchStatement is a whole commit on Postgres, one round trip and one transaction:
// rows are locked in the order of ids, updated where epoch and seq fit, or inserted;
// records follow those that were accepted. What comes back was accepted.
const batchStatement = `WITH w AS MATERIALIZED (
	SELECT * FROM json_to_recordset($1::json) AS x (id text, name text, version integer, shape text, can_any text, can_exact text,
		fingerprint text, state integer, step text, attempt integer, code text, cause text, pivoted boolean, owner text,
		epoch bigint, seq bigint, first bigint, read bigint, release boolean, wake bigint)
), now AS MATERIALIZED (
	SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS t
), own AS MATERIALIZED (
	SELECT o.owner FROM keelson_saga_owner o WHERE o.dead = 0 AND o.owner IN (SELECT owner FROM w WHERE epoch = 0 AND NOT release) FOR SHARE
), locked AS MATERIALIZED (
	SELECT s.id FROM keelson_saga s WHERE s.id IN (SELECT id FROM w WHERE epoch > 0) ORDER BY s.id FOR UPDATE
), upd AS (
	UPDATE keelson_saga s SET name = w.name, version = w.version, shape = w.shape, can_any = w.can_any, can_exact = w.can_exact,
		fingerprint = w.fingerprint, state = w.state, step = w.step, attempt = w.attempt, code = w.code, cause = w.cause, pivoted = w.pivoted,
		owner = CASE WHEN w.release THEN NULL ELSE s.owner END, seq = CASE WHEN w.first = 0 THEN s.seq ELSE w.seq END,
		mail_read = greatest(s.mail_read, w.read), claims = 0, updated = now.t,
		wake_at = CASE
			WHEN NOT w.release AND s.owner IS NOT NULL OR w.state >= 4 THEN NULL
			WHEN NOT w.release OR s.mail > greatest(s.mail_read, w.read) THEN now.t
			WHEN w.wake >= 0 THEN now.t + w.wake
		END
	FROM w CROSS JOIN now
	WHERE s.id = w.id AND s.id IN (SELECT id FROM locked) AND w.epoch > 0 AND s.epoch = w.epoch AND (w.first = 0 OR w.first = s.seq + 1)
	RETURNING s.id, s.mail
), ins AS (
	INSERT INTO keelson_saga (id, name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted,
		owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at)
	SELECT w.id, w.name, w.version, w.shape, w.can_any, w.can_exact, w.fingerprint, w.state, w.step, w.attempt, w.code, w.cause, w.pivoted,
		own.owner, 1, w.seq, 0, 0, 0, now.t, now.t,
		CASE
			WHEN own.owner IS NOT NULL OR w.state >= 4 THEN NULL
			WHEN NOT w.release THEN now.t
			WHEN w.wake >= 0 THEN now.t + w.wake
		END
	FROM w CROSS JOIN now LEFT JOIN own ON own.owner = w.owner AND NOT w.release
	WHERE w.epoch = 0 ORDER BY w.id
	ON CONFLICT (id) DO NOTHING
	RETURNING id, mail
), accepted AS (
	SELECT id, mail FROM upd UNION ALL SELECT id, mail FROM ins
), gone AS (
	DELETE FROM keelson_saga_mail m USING w, upd WHERE m.id = upd.id AND w.id = upd.id AND m.seq <= w.read AND m.key = ''
), rec AS (
	INSERT INTO keelson_saga_record (id, seq, kind, step, code, error, key, attempt, epoch, state, at, data)
	SELECT r.id, r.seq, r.kind, r.step, r.code, r.error, r.key, r.attempt, r.epoch, r.state, now.t, r.data
	FROM json_to_recordset($2::json) AS r (id text, seq bigint, kind text, step text, code text, error text, key text,
		attempt integer, epoch bigint, state integer, data text)
	JOIN accepted ON accepted.id = r.id CROSS JOIN now
)
SELECT accepted.id, accepted.mail, now.t FROM accepted CROSS JOIN now`

// headerJSON and recordJSON are rows of the statement's parameters. Data is a string
// in there, so that it stays as it is, byte for byte.
type headerJSON struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Version     int    `json:"version"`
	Shape       string `json:"shape"`
	CanAny      string `json:"can_any"`
	CanExact    string `json:"can_exact"`
	Fingerprint string `json:"fingerprint"`
	State       uint8  `json:"state"`
	Step        string `json:"step"`
	Attempt     int    `json:"attempt"`
	Code        string `json:"code"`
	Cause       string `json:"cause"`
	Pivoted     bool   `json:"pivoted"`
	Owner       string `json:"owner"`
	Epoch       uint64 `json:"epoch"`
	Seq         uint64 `json:"seq"`
	First       uint64 `json:"first"` // of the records, 0: none
	Read        uint64 `json:"read"`
	Release     bool   `json:"release"`
	Wake        int64  `json:"wake"` // microseconds; negative: not by time
}

type recordJSON struct {
	ID      string `json:"id"`
	Seq     uint64 `json:"seq"`
	Kind    string `json:"kind"`
	Step    string `json:"step"`
	Code    string `json:"code"`
	Error   string `json:"error"`
	Key     string `json:"key"`
	Attempt int    `json:"attempt"`
	Epoch   uint64 `json:"epoch"`
	State   uint8  `json:"state"`
	Data    string `json:"data"`
}

func encodeBatch(writes []saga.Write, order []int) (headers, records []byte, err error) {
	hs := make([]headerJSON, 0, len(order))
	rs := make([]recordJSON, 0, len(order))
	for _, i := range order {
		w := &writes[i]
		sum := &w.Summary
		h := headerJSON{
			ID: sum.ID, Name: sum.Name, Version: sum.Version, Shape: sum.Shape, Fingerprint: sum.Fingerprint, State: uint8(sum.State),
			Step: text(sum.Step), Attempt: sum.Attempt, Code: text(sum.Code), Cause: text(sum.Cause), Pivoted: sum.Pivoted,
			Owner: sum.Owner, Epoch: sum.Epoch, Seq: sum.Seq, Read: w.Read, Release: w.Release, Wake: max(w.WakeIn, -time.Microsecond).Microseconds(),
		}
		h.CanAny, h.CanExact = canNames(sum)
		for j := range w.Records {
			r := &w.Records[j]
			rs = append(rs, recordJSON{
				ID: sum.ID, Seq: r.Seq, Kind: r.Kind, Step: text(r.Step), Code: text(r.Code), Error: text(r.Error), Key: text(r.Key),
				Attempt: r.Attempt, Epoch: r.Epoch, State: uint8(r.State), Data: text(string(r.Data)),
			})
			h.Seq = r.Seq
		}
		if len(w.Records) > 0 {
			h.First = w.Records[0].Seq
		}
		hs = append(hs, h)
	}
	if headers, err = json.Marshal(hs); err == nil {
		records, err = json.Marshal(rs)
	}
	return headers, records, err
}

// commitBatch sends the writes in one statement and fills in the verdicts of those
// that it accepted. It returns the others, which have to be looked up.
func (s *Store) commitBatch(ctx context.Context, writes []saga.Write, order []int, verdicts []saga.Verdict) (rest []int, err error) {
	headers, records, err := encodeBatch(writes, order)
	if err != nil {
		return nil, err
	}
	accepted := map[string]saga.Verdict{}
	query := strings.ReplaceAll(batchStatement, sqldb.DefaultPrefix, s.cfg.Prefix)
	for range 10 {
		clear(accepted)
		err = s.queryBatch(ctx, query, headers, records, accepted)
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

func (s *Store) queryBatch(ctx context.Context, query string, headers, records []byte, accepted map[string]saga.Verdict) error {
	rows, err := s.db.QueryContext(ctx, query, string(headers), string(records))
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
