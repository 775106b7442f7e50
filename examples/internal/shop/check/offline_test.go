package check_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop/check"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// history writes records as the load does.
func history(t *testing.T, records ...load.Record) string {
	t.Helper()
	var b strings.Builder
	for _, r := range records {
		require.NoError(t, json.NewEncoder(&b).Encode(r))
	}
	return b.String()
}

func begin(call uint64, op string, user int, sku string) load.Record {
	return load.Record{Call: call, Type: load.Invoke, Op: op, User: user, SKU: sku}
}

func saw(call uint64, user int, sku string, version int64) load.Record {
	return load.Record{Call: call, Type: load.OK, Op: load.Browse, User: user, SKU: sku, Version: version}
}

func ordered(call uint64, key, order string) load.Record {
	return load.Record{Call: call, Type: load.OK, Op: load.Order, Key: key, Order: order}
}

func TestTheOfflineJudge(t *testing.T) {
	known := map[string]bool{"a": true, "b": true}
	for name, c := range map[string]struct {
		records       []load.Record
		status, words string
	}{
		"all well": {
			[]load.Record{begin(1, load.Order, 7, ""), begin(2, load.Order, 7, ""), ordered(2, "k2", "b"), ordered(1, "k1", "a")},
			"ok", "2 calls, 2 orders promised, 0 without",
		},
		"a repeat has the same order": {
			[]load.Record{begin(1, load.Order, 7, ""), ordered(1, "k", "a"), begin(2, load.Order, 7, ""), ordered(2, "k", "a")},
			"ok", "1 orders promised",
		},
		"two orders for one key": {
			[]load.Record{begin(1, load.Order, 7, ""), ordered(1, "k", "a"), begin(2, load.Order, 7, ""), ordered(2, "k", "b")},
			"broken", "line 4: key k: orders a and b",
		},
		"a promise that nobody knows": {
			[]load.Record{begin(1, load.Order, 7, ""), ordered(1, "k", "c")}, "broken", "order c was promised and does not exist",
		},
		"a version that falls": {
			[]load.Record{begin(1, load.Browse, 7, "P-1"), saw(1, 7, "P-1", 4), begin(2, load.Browse, 7, "P-1"), saw(2, 7, "P-1", 3)},
			"broken", "customer 7 saw version 3 of P-1 after version 4",
		},
		// Two that overlap may be answered in any order, and two customers know nothing
		// of each other.
		"versions of overlapping reads": {
			[]load.Record{begin(1, load.Browse, 7, "P-1"), begin(2, load.Browse, 7, "P-1"), saw(1, 7, "P-1", 4), saw(2, 7, "P-1", 3)},
			"ok", "2 calls",
		},
		"versions of two customers": {
			[]load.Record{begin(1, load.Browse, 7, "P-1"), saw(1, 7, "P-1", 4), begin(2, load.Browse, 8, "P-1"), saw(2, 8, "P-1", 3)},
			"ok", "2 calls",
		},
		"no answer says nothing": {
			[]load.Record{begin(1, load.Order, 7, ""), {Call: 1, Type: load.Unknown, Op: load.Order}, begin(2, load.Order, 7, "")},
			"ok", "2 without a clear answer",
		},
		"an end without a beginning": {[]load.Record{ordered(1, "k", "a")}, "broken", "call 1 ends and has not begun"},
		"two ends":                   {[]load.Record{begin(1, load.Order, 7, ""), ordered(1, "k", "a"), ordered(1, "k", "a")}, "broken", "ends twice"},
		"no history at all":          {nil, "unknown", "empty"}, // T15
	} {
		l := check.JudgeHistory(strings.NewReader(history(t, c.records...)), known)
		assert.Equal(t, c.status, l.Status, "%s: %s", name, l.Detail)
		assert.Contains(t, l.Detail, c.words, "%s", name)
	}
	l := check.JudgeHistory(strings.NewReader("half a li"), known)
	assert.Equal(t, "unknown", l.Status, "half a history proves nothing")
}
