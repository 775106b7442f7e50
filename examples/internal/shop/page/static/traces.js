// P9: the last requests of clients, each with the calls that it made: tries, answers
// from a cache, and calls that a breaker has refused without making them.
import { byID, el, millis, put, rows } from "./dom.js";

const SHOWN = 12;

export function createTraces() {
  const list = byID("trace-rows"), filter = byID("trace-filter"), only = byID("trace-only");
  return {
    draw(store) {
      const want = filter.value.trim().toLowerCase();
      const all = [...store.traces].reverse().map(describe).filter((t) => (!only.checked || t.trouble) && (want ? t.text.includes(want) : t.root.service.startsWith("gateway")));
      byID("trace-empty").hidden = store.traces.size > 0;
      rows(list, all.slice(0, SHOWN), (t) => t.id, create, update);
    },
  };
}

// describe sums a trace up: when it began, how long it took, and how it went.
function describe([id, spans]) {
  const begin = Math.min(...spans.map((s) => s.startMs)), end = Math.max(...spans.map((s) => s.startMs + s.durMs));
  const root = spans.reduce((a, s) => (s.startMs < a.startMs || (s.startMs === a.startMs && s.durMs > a.durMs) ? s : a));
  const trouble = spans.some((s) => s.err || s.circuit || s.attempt > 1 || s.status >= 500);
  const text = `${id} ${spans.map((s) => `${s.service} ${s.name} ${s.status ?? ""} ${s.fault ?? ""}`).join(" ")}`.toLowerCase();
  return { id, spans, begin, length: Math.max(0.1, end - begin), root, trouble, text };
}

function create() {
  return el("li", {}, el("details", {}, el("summary", {}, el("b"), el("small")), el("ol", { class: "spans" })));
}

function update(row, t) {
  const [title, length] = row.querySelector("summary").children;
  put(title, `${t.root.name} → ${t.root.status || "no answer"}`);
  put(length, ` ${millis(t.length)} · ${t.spans.length} spans · ${t.id.slice(0, 8)}`);
  row.dataset.tone = t.trouble ? "watch" : "";
  if (!row.firstChild.open) return; // what nobody looks at is not drawn
  const spans = [...t.spans].sort((a, b) => a.startMs - b.startMs);
  rows(row.querySelector("ol"), spans, (s) => `${s.service} ${s.name} ${s.startMs}`, (s) => {
    const i = el("i");
    i.style.left = `${(100 * (s.startMs - t.begin)) / t.length}%`;
    i.style.width = `${Math.max(0.6, (100 * s.durMs) / t.length)}%`;
    const marks = [s.circuit && "⊘ breaker open", s.attempt > 1 && `try ${s.attempt}`, s.cache && `from ${s.cache}`, s.fault && `fault ${s.fault}`, s.err].filter(Boolean).join(" · ");
    return el("li", {}, el("span", {}, `${s.service} ${s.name} ${s.status || ""}`), el("span", { class: "bar" }, i), el("small", {}, `${millis(s.durMs)} ${marks}`));
  });
}
