package sagasql

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keelson-go/keelson/saga"
)

const columns = "id, name, version, shape, fingerprint, state, step, attempt, code, cause, pivoted, owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at"

// header is a row of table saga.
type header struct {
	saga.Summary
	read uint64
}

func (h *header) unread() uint64 { return h.Mail - h.read }

type scanner interface{ Scan(dest ...any) error }

func scanHeader(row scanner) (h header, err error) {
	var owner sql.NullString
	var started, updated int64
	var wakeAt sql.NullInt64
	err = row.Scan(&h.ID, &h.Name, &h.Version, &h.Shape, &h.Fingerprint, (*uint8)(&h.State), &h.Step, &h.Attempt, &h.Code, &h.Cause,
		&h.Pivoted, &owner, &h.Epoch, &h.Seq, &h.Mail, &h.read, &h.Claims, &started, &updated, &wakeAt)
	h.Owner, h.Started, h.Updated = owner.String, timeOf(started), timeOf(updated)
	if wakeAt.Valid {
		h.WakeAt = timeOf(wakeAt.Int64)
	}
	return h, err
}

// find reads a header; lock keeps others from changing it. Nil: not there.
func (c *conn) find(ctx context.Context, id string, lock bool) (*header, error) {
	query := "SELECT " + columns + " FROM keelson_saga WHERE id = $1"
	if lock {
		query += "[ FOR UPDATE]"
	}
	h, err := scanHeader(c.row(ctx, query, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &h, nil
}

func (c *conn) headers(ctx context.Context, query string, args ...any) (all []header, err error) {
	rows, err := c.q.QueryContext(ctx, c.sql(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		h, err := scanHeader(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, rows.Err()
}

const recordColumns = "seq, kind, step, code, error, key, attempt, epoch, state, at, data"

func (c *conn) records(ctx context.Context, h *header, query string, args ...any) (all []saga.Record, err error) {
	rows, err := c.q.QueryContext(ctx, c.sql("SELECT "+recordColumns+query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := saga.Record{Saga: h.ID, Name: h.Name}
		var at int64
		var data string
		err := rows.Scan(&r.Seq, &r.Kind, &r.Step, &r.Code, &r.Error, &r.Key, &r.Attempt, &r.Epoch, (*uint8)(&r.State), &at, &data)
		if err != nil {
			return nil, err
		}
		r.At = timeOf(at)
		if data != "" {
			r.Data = []byte(data)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Records of a log, messages of a mailbox. Most records are plain: a parameter takes a
// driver longer than what it stands for.
const (
	insertPlain  = "INSERT INTO keelson_saga_record (id, " + recordColumns + ") VALUES ($1, $2, $3, $4, '', '', '', $5, $6, $7, $8, $9)"
	insertRecord = "INSERT INTO keelson_saga_record (id, " + recordColumns + ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	insertLetter = "INSERT INTO keelson_saga_mail (id, " + recordColumns + ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
)

func (c *conn) insertRecord(ctx context.Context, query, id string, r *saga.Record) error {
	_, err := c.exec(ctx, query,
		id, int64(r.Seq), r.Kind, text(r.Step), text(r.Code), text(r.Error), text(r.Key), r.Attempt, int64(r.Epoch), int(r.State), c.now, text(string(r.Data)))
	return err
}

// text is s as Postgres can keep it.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func canNames(s *saga.Summary) (anyShape, exact string) {
	anyShape = s.Name + "@" + strconv.Itoa(s.Version)
	return anyShape, anyShape + "/" + s.Shape
}
