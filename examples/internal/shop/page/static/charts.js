// P10: two views of the same minute, with the faults shaded through both and one
// cursor. Latency is on a logarithmic scale: on a linear one an outage would be a
// tower and all else the ground. The ghost is what the run before took at that moment.
import { colour, el, forgetColours, PLOT_LEFT, PLOT_RIGHT } from "./dom.js";

/* global uPlot */

const HEIGHT = 92;

// Each chart: its series from bottom to top, and how a point gives their values.
const CHARTS = [
  {
    plot: "c-orders", readout: "r-orders", stacked: true, unit: "/s",
    series: [["taken", "ok"], ["taken, pending", "fallback"], ["refused: not now", "refused"], ["failed", "failed"]], ghost: "the run before",
    values: (p) => [p.ops.order.ok, p.ops.order.fallback, p.ops.order.refused, p.ops.order.failed],
  },
  {
    plot: "c-latency", readout: "r-latency", log: true, unit: " ms", axis: true,
    series: [["order, slowest 1 %", "p99"], ["order, median", "p50"], ["browse, slowest 1 %", "browse"]],
    values: (p) => [p.ops.order.p99, p.ops.order.p50, p.ops.browse.p99],
  },
];
const INK = { ok: "--ok-fill", fallback: "--half-fill", refused: "--refused-fill", failed: "--open-fill", p99: "--accent", p50: "--soft", browse: "--ok-fill", ghost: "--text" };

export function createCharts() {
  let spans = [];
  let charts = [];
  const build = () => {
    for (const c of charts) c.plot.destroy();
    charts = CHARTS.map((spec) => ({ spec, plot: create(spec, () => spans) }));
  };
  const readouts = CHARTS.map(createReadout);
  addEventListener("load", build); // uPlot is a deferred script
  if (document.readyState === "complete") build();
  // A scroll bar that appears makes the column narrower without a resize event.
  new ResizeObserver(() => {
    for (const { spec, plot } of charts) plot.setSize({ width: widthOf(spec), height: heightOf(spec) });
  }).observe(document.getElementById(CHARTS[0].plot));
  return {
    draw(store, from, to) {
      spans = store.spans();
      const points = store.points.filter((p) => p.at >= from - 1000);
      for (const { spec, plot } of charts) {
        plot.setData(table(spec, points, store), false);
        plot.setScale("x", { min: from / 1000, max: to / 1000 });
      }
      const last = store.last();
      if (last) for (const r of readouts) r(last);
    },
    restyle() { forgetColours(); if (charts.length > 0) build(); },
  };
}

// table turns points into uPlot's columns; stacked series are summed from below.
function table(spec, points, store) {
  const columns = [points.map((p) => p.at / 1000), ...spec.series.map(() => [])];
  if (spec.ghost) columns.push(points.map((p) => store.past(p)));
  for (const p of points) {
    let sum = 0;
    spec.values(p).forEach((v, i) => {
      if (spec.stacked && v != null) v = sum += v;
      columns[i + 1].push(v);
    });
  }
  return columns;
}

// uPlot draws on a canvas and does not follow its element by itself.
const widthOf = (spec) => document.getElementById(spec.plot).clientWidth;
const heightOf = (spec) => HEIGHT + (spec.axis ? 22 : 0);

function create(spec, spans) {
  const series = spec.series.map(([label, key], i) => {
    const ink = colour(INK[key]);
    return {
      label, stroke: ink, width: spec.stacked ? 0 : 2, points: { show: false }, spanGaps: false,
      fill: spec.stacked && i === 0 ? ink + "c8" : undefined,
    };
  });
  if (spec.ghost) series.push({ label: spec.ghost, stroke: colour(INK.ghost), width: 1.5, dash: [4, 4], points: { show: false }, spanGaps: false });
  const bands = spec.stacked
    ? spec.series.slice(1).map(([, key], i) => ({ series: [i + 2, i + 1], fill: colour(INK[key]) + "c8" }))
    : [];
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return new uPlot({
    width: widthOf(spec), height: heightOf(spec), padding: [6, PLOT_RIGHT, 4, 0],
    cursor: { sync: { key: "time" }, y: false, points: { size: 6 }, drag: { x: false } },
    legend: { show: false },
    scales: {
      x: { time: true, auto: false },
      y: spec.log ? { distr: 3, range: [0.5, 4000] } : { range: (_, __, max) => [0, Math.max(5, (max ?? 0) * 1.15)] },
    },
    axes: [
      { ...axis, size: spec.axis ? 24 : 0, values: spec.axis ? clock : () => [], space: 70 },
      { ...axis, size: PLOT_LEFT, values: (_, ticks) => ticks.map((t) => yLabel(spec, t)), space: 26, ...(spec.log && { splits: () => [1, 10, 100, 1000], filter: (_, ticks) => ticks }) },
    ],
    series: [{}, ...series], bands,
    hooks: { drawClear: [(u) => shade(u, spans())] },
  }, [[0], ...series.map(() => [null])], document.getElementById(spec.plot));
}

function clock(_, ticks) {
  return ticks.map((t) => new Date(t * 1000).toLocaleTimeString([], { hour12: false }));
}

function yLabel(spec, v) {
  if (!spec.log) return String(v);
  return v >= 1000 ? `${v / 1000} s` : `${v} ms`;
}

function shade(u, spans) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = colour("--fault");
  for (const s of spans) {
    const a = u.valToPos(s.from / 1000, "x", true), b = u.valToPos(s.to / 1000, "x", true);
    ctx.fillRect(a, bbox.top, b - a, bbox.height);
  }
  ctx.restore();
}

// createReadout fills the list beside a chart and returns what updates it.
function createReadout(spec) {
  const list = document.getElementById(spec.readout);
  const cells = spec.series.map(([label, key]) => {
    const dd = el("dd");
    list.append(el("dt", {}, el("i", { class: `swatch-${key}` }), label), dd);
    return dd;
  });
  return (point) => {
    spec.values(point).forEach((v, i) => {
      cells[i].textContent = v == null ? "–" : `${v < 10 && spec.log ? v.toFixed(1) : Math.round(v)}${spec.unit}`;
    });
  };
}
