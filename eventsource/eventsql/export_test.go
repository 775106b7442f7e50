package eventsql

import (
	"context"
	"database/sql"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Keys are the locks of an append, hash by hash.
func Keys(mask uint64, events []eventsource.Event, conds ...eventsource.Condition) (keys []uint64) {
	r, err := newRequest(events, conds)
	if err != nil {
		panic(err)
	}
	for _, k := range hasher(mask).keys(r) {
		keys = append(keys, uint64(k))
	}
	return keys
}

// TextArray is the array literal of texts.
func TextArray(texts []string) string {
	return textArray(len(texts), func(i int) (string, bool) { return texts[i], true })
}

// Select is the statement of a read.
func Select(d sqldb.Dialect, q eventsource.Query, after uint64, limit int) (string, []any) {
	s := &Store{dialect: d, cfg: Config{Prefix: "keelson_"}}
	b := s.selectEvents(q, "e.position", span{after: after, limit: limit})
	return b.String(), b.args
}

// Groups tells how appends that are queued together are divided into
// transactions: the indexes of those in the first.
func Groups(appends ...[]any) (first []int) {
	var m mixture
	for i, a := range appends {
		var conds []eventsource.Condition
		for _, c := range a[1:] {
			conds = append(conds, c.(eventsource.Condition))
		}
		r, err := newRequest(a[0].([]eventsource.Event), conds)
		if err != nil {
			panic(err)
		}
		if m.add(hasher(^uint64(0)), r) {
			first = append(first, i)
		}
	}
	return first
}

// OpenAs makes a Store that has not looked at its database.
func OpenAs(db *sql.DB, d sqldb.Dialect, cfg Config) *Store {
	cfg, err := cfg.checked(d)
	if err != nil {
		panic(err)
	}
	return newStore(db, d, cfg, sqldb.HashMask(context.Background()))
}
