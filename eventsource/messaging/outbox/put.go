package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/adapter"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// maxRows of six columns keep below the 999 parameters of older builds of SQLite,
// and are one round trip.
const maxRows = 64

// Put stores messages in the caller's transaction: [Outbox.Relay] publishes them
// if and only if it commits. It is one statement for each 64 messages. Call
// [Outbox.Wake] after the commit for the relay of this process to look at once.
//
// An empty ID becomes a UUIDv7. A message that breaks a limit of
// [messaging.Message] is refused with [messaging.ErrInvalid] before anything is
// written; other errors are the database's, and tx must be rolled back.
//
// Messages of one Key are published in the order of their Puts, where one
// transaction came after the other. Transactions that overlap have no order until
// something makes them wait: call Put after the statement that locks what the
// messages are about, such as the UPDATE of that order's row.
//
// On SQLite the connection of tx must have PRAGMA synchronous=FULL, which some
// drivers lower: a message that was published must not be forgotten.
func (o *Outbox) Put(ctx context.Context, tx *sql.Tx, msgs ...messaging.Message) error {
	msgs, err := adapter.Prepare(msgs)
	if err != nil {
		return fmt.Errorf("outbox: put: %w", err)
	}
	if len(msgs) == 0 {
		return nil
	}
	if err := o.durable(ctx, tx); err != nil {
		return fmt.Errorf("outbox: put: %w", ended(ctx, err))
	}
	for chunk := range slices.Chunk(msgs, maxRows) {
		query, args, err := o.insertion(chunk)
		if err == nil {
			_, err = tx.ExecContext(ctx, query, args...)
		}
		if err != nil {
			return fmt.Errorf("outbox: put: %w", ended(ctx, err))
		}
	}
	return nil
}

// durable refuses a transaction of SQLite whose commit may be forgotten.
func (o *Outbox) durable(ctx context.Context, tx *sql.Tx) error {
	if o.dialect != sqldb.SQLite {
		return nil
	}
	ok, level, err := sqldb.Waits(ctx, tx)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the connection of tx has PRAGMA synchronous=%d, at least 2 (FULL) is needed: set it in the data source name",
			messaging.ErrInvalid, level)
	}
	return err
}

func (o *Outbox) insertion(msgs []messaging.Message) (query string, args []any, err error) {
	var b strings.Builder
	b.WriteString(o.sql.insert)
	for i := range msgs {
		m := &msgs[i]
		headers, err := encodeHeaders(m.Headers)
		if err != nil {
			return "", nil, err
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		args = append(args, int64(laneOf(m)), m.ID, m.Topic, m.Key, headers, bytesOf(m.Body))
		for n := len(args) - 5; n <= len(args); n++ {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			b.WriteString(", ")
		}
		b.WriteString(o.sql.row)
		b.WriteByte(')')
	}
	return b.String(), args, nil
}

// chain names what is kept in order: the messages of a key. One without is alone.
func chain(m *messaging.Message) string {
	if m.Key != "" {
		return m.Key
	}
	return m.ID
}

// laneOf is fmix64(FNV-1a-64(chain)) mod lanes. The last bits of FNV alone are
// weak.
func laneOf(m *messaging.Message) uint64 {
	f := fnv.New64a()
	f.Write([]byte(chain(m))) //nolint:errcheck // it never fails
	h := f.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h % lanes
}

// encodeHeaders returns JSON, or nil for NULL.
func encodeHeaders(headers map[string]string) (any, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(headers)
	return string(text), err
}

func decodeHeaders(text sql.NullString) (headers map[string]string, err error) {
	if text.String == "" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text.String), &headers)
	return headers, err
}

// bytesOf is nil for NULL.
func bytesOf(data []byte) any {
	if len(data) == 0 {
		return nil
	}
	return data
}
