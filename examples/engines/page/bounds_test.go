package page_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// feed imports the page's own modules and gives them more of each kind than any of them
// keeps, with no time for anybody to look.
const feed = `(async () => {
  const main = document.querySelector('script[type="module"]').src;
  const { Store } = await import(new URL("store.js", main));
  const { createLog } = await import(new URL("log.js", main));
  const store = new Store(), list = document.createElement("ol"), log = createLog(list);
  const ops = { order: { ok: 1, fallback: 0 } };
  store.setState({ at: 0, scenario: { running: true } });
  for (let i = 0; i < 3000; i++) {
    const at = 1e12 + 200 * i, time = new Date(at).toISOString();
    store.addPoint({ at, ops, faults: [] });
    store.addSaga({ data: { saga: "s" + i, kind: "begin", step: "one", at: time } });
    store.addSpan({ data: { trace: "t" + i } });
    store.addSpan({ data: { trace: "the same" } });
    store.addEvent({ service: "orders", data: { id: "e" + i } });
    store.addMove({ at: time, data: { name: "a/b", from: "closed", to: "open" } });
    const line = { at, kind: "log", text: "line " + i };
    store.addNews(line);
    log.add(line);
  }
  store.setState({ at: 0, scenario: { running: false } });
  store.setState({ at: 0, scenario: { running: true } });
  return {
    points: store.points.length, sagas: store.sagas.size, traces: store.traces.size, events: store.events.length, moves: store.moves.length,
    news: store.news.length, lines: list.children.length, ghost: store.ghost.length,
    spans: Math.max(...[...store.traces.values()].map((t) => t.length)), newest: [...store.sagas.keys()].at(-1) + " " + store.events.at(-1).id,
  };
})()`

// T28: each list of the page is bounded by itself, whatever comes, and keeps the newest.
func TestEachListOfThePageIsBounded(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 0)
	b := browse(t, s.url)
	kept := get[map[string]any](b, feed)
	for list, most := range map[string]float64{
		"points": 626, "sagas": 40, "traces": 200, "events": 120, "moves": 500, "news": 200, "lines": 200, "ghost": 1500, "spans": 60,
	} {
		assert.Equal(t, most, kept[list], list)
	}
	assert.Equal(t, "s2999 e2999", kept["newest"])
	b.clean(s.url)
}
