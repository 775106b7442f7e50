// P3: every breaker: its state over time, the window's failure rate against the
// threshold, the time to the next probe, and what a visitor can do to it. A state
// has a shape of its own beside its colour.
import { byID, colour, el, part, PLOT_LEFT, PLOT_RIGHT, put, rows, send } from "./dom.js";
import { FAULTS } from "./store.js";

const ROW = 26;

export function createBreakers() {
  const canvas = byID("lanes"), list = byID("breaker-rows");
  let names = [];
  return {
    draw(store) {
      names = Object.keys(store.state.breakers).sort((a, b) => weight(store, b) - weight(store, a) || a.localeCompare(b)).slice(0, 9);
      rows(list, names, (n) => n, create, (row, name) => update(row, store.breaker(name)));
    },
    drawTime: (store, from, to) => draw(canvas, names, store, from, to),
  };
}

// weight brings those in trouble to the top; the order of the others is that of
// their names, so that rows do not jump.
function weight(store, name) { return store.moves.some((m) => m.name === name) ? 1 : 0; }

function create(name) {
  const act = (action) => () => send("POST", `control/breakers/${encodeURIComponent(name)}/${action}`);
  const button = (action, text, title) => el("button", { type: "button", class: "tiny", title, "aria-label": `${action} ${name}`, onclick: act(action) }, text);
  return el("div", { class: "breaker" },
    el("b", {}, name.replace("/", " → ")), el("span", { class: "pill", "data-part": "state" }),
    el("span", { class: "meter", "data-part": "meter" }, el("i"), el("u")), el("small", { "data-part": "rate" }),
    button("trip", "trip", "open it now"), button("reset", "reset", "close it and forget the window"));
}

function update(row, b) {
  if (!b) return;
  row.dataset.state = b.state;
  put(part(row, "state"), b.held ? `${b.state}, held` : b.state);
  const meter = part(row, "meter");
  meter.firstChild.style.width = `${Math.round(100 * b.rate)}%`;
  meter.lastChild.style.left = `${Math.round(100 * (b.threshold || 1))}%`;
  put(part(row, "rate"), b.state === "open" ? `probe in ${Math.max(0, b.retry_after_ns / 1e9).toFixed(1)} s` : `${b.failures} of ${b.calls}`);
}

function draw(canvas, names, store, from, to) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = ROW * (names.length + 1);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.font = "600 12px system-ui, sans-serif";
  ctx.textBaseline = "middle";
  const plot = { ctx, left: PLOT_LEFT, right: width - PLOT_RIGHT, from, to };
  const spans = store.spans().filter((s) => s.to > from);
  for (const s of spans) shade(plot, s, height);
  let free = plot.left; // where the row of fault names has room again
  for (const s of spans) free = faultBar(plot, s, free);
  names.forEach((name, i) => {
    const y = ROW * (i + 1.5);
    for (const strip of store.strips(name, from, to)) drawStrip(plot, strip, y);
  });
}

function x(plot, t) {
  const share = (t - plot.from) / (plot.to - plot.from);
  return plot.left + Math.max(0, Math.min(1, share)) * (plot.right - plot.left);
}

function shade(plot, s, height) {
  plot.ctx.fillStyle = colour("--fault");
  plot.ctx.fillRect(x(plot, s.from), 0, x(plot, s.to) - x(plot, s.from), height);
}

// faultBar draws a fault and its name, and returns where the next name may begin.
// A bar that is too short has its name beside it, if there is room; two names on
// top of each other say less than none.
function faultBar(plot, s, free) {
  const { ctx } = plot;
  const a = x(plot, s.from), w = Math.max(2, x(plot, s.to) - a);
  ctx.strokeStyle = colour("--open-fill");
  ctx.lineWidth = 1.5;
  ctx.strokeRect(a + 0.75, 3.75, w - 1.5, ROW - 8);
  const [target, kind] = s.name.split(" ");
  const text = `${target} ${FAULTS[kind] ?? kind}`;
  if (label(ctx, text, a, w, ROW / 2, colour("--fault-ink"))) return a + w;
  const before = a - ctx.measureText(text).width - 6;
  if (before > free) ctx.fillText(text, before, ROW / 2);
  return a + w;
}

function drawStrip(plot, strip, y) {
  const { ctx } = plot;
  const a = x(plot, strip.from), w = Math.max(strip.state === "closed" ? 0 : 2, x(plot, strip.to) - a);
  switch (strip.state) {
    case "open":
      ctx.fillStyle = colour("--open-fill");
      ctx.fillRect(a, y - 9, w, 18);
      label(ctx, "open", a, w, y, "#fff");
      break;
    case "half-open":
      ctx.fillStyle = hatch(ctx);
      ctx.fillRect(a, y - 6, w, 12);
      break;
    default:
      ctx.fillStyle = colour("--ok-fill");
      ctx.fillRect(a, y - 2, w, 4);
  }
}

// label writes text into a block if it fits, and says whether it did.
function label(ctx, text, a, w, y, ink) {
  ctx.fillStyle = ink;
  if (ctx.measureText(text).width + 10 > w) return false;
  ctx.fillText(text, a + 6, y);
  return true;
}

let pattern = null, patternKey = "";

function hatch(ctx) {
  const key = colour("--half-fill") + colour("--half-soft");
  if (pattern && patternKey === key) return pattern;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const t = tile.getContext("2d");
  t.fillStyle = colour("--half-soft");
  t.fillRect(0, 0, 6, 6);
  t.strokeStyle = colour("--half-fill");
  t.lineWidth = 2.5;
  for (const d of [-6, 0, 6]) {
    t.beginPath();
    t.moveTo(d, 6);
    t.lineTo(d + 6, 0);
    t.stroke();
  }
  patternKey = key;
  pattern = ctx.createPattern(tile, "repeat");
  return pattern;
}
