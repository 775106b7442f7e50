// P4: what retries cost. Tries per request of each client over the last second, what
// its budget would still allow, and what it has refused.
import { byID, el, number, part, put, rows } from "./dom.js";

const most = {}; // the highest level of each budget that was seen

export function createRetry() {
  const body = byID("retry-rows");
  return {
    draw(store) {
      const point = store.last();
      const names = Object.keys(store.state.retry).filter((n) => store.state.retry[n].requests > 0).sort();
      rows(body, names, (n) => n, create, (row, name) => {
        const r = store.state.retry[name];
        most[name] = Math.max(most[name] ?? 1, r.available);
        const tries = triesOf(point, name);
        put(part(row, "tries"), tries > 0 ? number(tries, 2) : "–");
        row.dataset.tone = tries > 1.1 ? "watch" : "";
        part(row, "level").value = r.available / most[name];
        put(part(row, "denied"), r.denied);
      });
    },
  };
}

// triesOf is the highest over the instances of a callee.
function triesOf(point, client) {
  const all = Object.entries(point?.breakers ?? {}).filter(([name]) => name.replace(/-\d+$/, "") === client);
  return Math.max(0, ...all.map(([, b]) => b.tries));
}

function create(name) {
  return el("tr", {}, el("th", { scope: "row" }, name.replace("/", " → ")), el("td", { "data-part": "tries" }),
    el("td", {}, el("meter", { "data-part": "level", min: 0, max: 1, low: 0.3, optimum: 1, value: 1, "aria-label": `budget of ${name}` })),
    el("td", { "data-part": "denied" }));
}
