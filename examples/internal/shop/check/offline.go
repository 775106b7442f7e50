package check

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// Offline judges the history of every call once more, after the load has settled:
// what a client was told must be what the logs have. It knows nothing of what the
// lamps have seen, so neither can hide the other's mistake.
func (c *Checker) Offline(ctx context.Context, history io.Reader) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.set(History, c.judge(ctx, history))
}

func (c *Checker) judge(ctx context.Context, history io.Reader) verdict {
	known, err := c.knownOrders(ctx)
	if err != nil {
		return verdict{err: err}
	}
	return judgeHistory(history, known)
}

// knownOrders reads the order service's log from the beginning. Nil means that the
// shop has none.
func (c *Checker) knownOrders(ctx context.Context) (map[string]bool, error) {
	if !c.config.Has("payments") {
		return nil, nil
	}
	reader := &Checker{config: c.config, ledger: newLedger(), logs: []*follower{{service: "orders"}}}
	if err := reader.follow(ctx); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for id, o := range reader.ledger.orders {
		known[id] = o.created
	}
	for _, id := range reader.ledger.ended { // created, whatever has been forgotten since
		known[id] = true
	}
	return known, nil
}

// JudgeHistory reads records and looks for: an order that was promised and is not
// known, a key with two orders, an article whose version falls for one customer,
// and a call that has ended twice or without having begun. A nil known leaves the
// first out.
func JudgeHistory(history io.Reader, known map[string]bool) collect.Lamp {
	return judgeHistory(history, known).lamp(History)
}

func judgeHistory(history io.Reader, known map[string]bool) verdict {
	j := &historyJudge{
		known: known, open: map[uint64]load.Record{}, keys: map[string]string{}, versions: map[article]int64{},
	}
	lines := bufio.NewScanner(history)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r load.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return verdict{err: fmt.Errorf("history, line %d: %w", n, err)}
		}
		if text := j.take(r); text != "" {
			return holds(false, "history, line %d: %s", n, text)
		}
	}
	if err := lines.Err(); err != nil {
		return verdict{err: err}
	}
	if j.calls == 0 {
		return verdict{err: fmt.Errorf("the history is empty")}
	}
	return holds(true, "%d calls, %d orders promised, %d without a clear answer", j.calls, len(j.keys), j.unknown+len(j.open))
}

// article is what one customer has seen of one article.
type article struct {
	user int
	sku  string
}

type historyJudge struct {
	known    map[string]bool
	open     map[uint64]load.Record // calls that have begun, with the version that was the highest then
	keys     map[string]string      // order by key
	versions map[article]int64
	calls    int
	unknown  int
}

// take looks at one record and says what is wrong with it.
func (j *historyJudge) take(r load.Record) string {
	at := article{r.User, r.SKU}
	if r.Type == load.Invoke {
		j.calls++
		// What this customer had seen by now, from the answers in this very record and
		// not from what the client noted itself.
		r.Floor = j.versions[at]
		j.open[r.Call] = r
		return ""
	}
	begun, ok := j.open[r.Call]
	if !ok {
		return fmt.Sprintf("call %d ends and has not begun, or ends twice", r.Call)
	}
	delete(j.open, r.Call)
	if r.Type == load.Unknown {
		j.unknown++
		return ""
	}
	if r.Type == load.OK && r.Version > 0 {
		if r.Version < begun.Floor {
			return fmt.Sprintf("customer %d saw version %d of %s after version %d", r.User, r.Version, r.SKU, begun.Floor)
		}
		j.versions[at] = max(j.versions[at], r.Version)
	}
	if r.Op == load.Order && r.Type == load.OK && r.Order != "" {
		return j.promise(r)
	}
	return ""
}

func (j *historyJudge) promise(r load.Record) string {
	if before, ok := j.keys[r.Key]; ok && before != r.Order {
		return fmt.Sprintf("key %s: orders %s and %s", r.Key, before, r.Order)
	}
	j.keys[r.Key] = r.Order
	if j.known != nil && !j.known[r.Order] {
		return fmt.Sprintf("order %s was promised and does not exist", r.Order)
	}
	return ""
}
