// The map: services, and the calls between them with their breakers. Built once
// and then only changed: an SVG that is made anew ten times a second loses the
// phase of its moving dots, and the reader his place.
const NS = "http://www.w3.org/2000/svg";

const NODES = {
  load: { x: 80, y: 98, label: "clients" },
  gateway: { x: 320, y: 98, label: "gateway" },
  orders: { x: 620, y: 36, label: "orders" },
  users: { x: 876, y: 158, label: "users" },
};
const EDGES = [
  { from: "load", to: "gateway" },
  { from: "gateway", to: "orders", breaker: "gateway/orders", at: 0.5 },
  { from: "gateway", to: "users", breaker: "gateway/users", at: 0.5 },
  { from: "orders", to: "users", breaker: "orders/users", at: 0.48 },
];
const W = 130, H = 58;

function element(parent, name, attributes = {}) {
  const e = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  parent.append(e);
  return e;
}

export function createMap(svg) {
  const edges = EDGES.map((e) => drawEdge(svg, e));
  const nodes = Object.fromEntries(Object.entries(NODES).map(([name, n]) => [name, drawNode(svg, n)]));
  return {
    draw(store) {
      const point = store.last();
      for (const e of edges) updateEdge(e, store, point);
      for (const [name, n] of Object.entries(nodes)) updateNode(n, name, store, point);
    },
  };
}

function drawNode(svg, { x, y, label }) {
  const g = element(svg, "g", { class: "node" });
  element(g, "rect", { x: x - W / 2, y: y - H / 2, width: W, height: H, rx: 10 });
  element(g, "text", { x, y: y - 3 }).textContent = label;
  const sub = element(g, "text", { x, y: y + 16, class: "sub" });
  return { g, sub };
}

function drawEdge(svg, edge) {
  const a = NODES[edge.from], b = NODES[edge.to];
  const d = `M${a.x} ${a.y}L${b.x} ${b.y}`;
  const line = element(svg, "path", { d, class: "edge" });
  const flow = element(svg, "path", { d, class: "flow" });
  if (!edge.breaker) {
    const rate = element(svg, "text", { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 - 12, class: "rate" });
    return { edge, line, flow, rate };
  }
  const x = a.x + (b.x - a.x) * edge.at, y = a.y + (b.y - a.y) * edge.at;
  const pill = element(svg, "g", { class: "pill" });
  element(pill, "rect", { x: x - 52, y: y - 13, width: 104, height: 26, rx: 13 });
  const word = element(pill, "text", { x, y: y + 4 });
  const rate = element(svg, "text", { x, y: y + 29, class: "rate" });
  return { edge, line, flow, pill, word, rate };
}

const GLYPHS = { closed: "● closed", open: "⊘ open", "half-open": "◐ half-open" };

function updateEdge({ edge, line, flow, pill, word, rate }, store, point) {
  if (!edge.breaker) {
    const rps = store.state.load.rps;
    line.setAttribute("stroke-width", width(rps));
    line.dataset.state = rps > 0 ? "closed" : "idle";
    flow.dataset.on = rps > 0 ? "yes" : "no";
    rate.textContent = `${rps}/s`;
    return;
  }
  const state = store.breaker(edge.breaker)?.state ?? "closed";
  const p = point?.breakers[edge.breaker];
  const through = p ? p.passed + p.failed + p.ignored : 0;
  line.setAttribute("stroke-width", state === "open" ? 3 : width(through));
  line.dataset.state = state === "closed" && through === 0 ? "idle" : state;
  flow.dataset.on = state === "closed" && through > 0 ? "yes" : "no";
  pill.dataset.state = state;
  word.textContent = GLYPHS[state];
  rate.textContent = p && p.rejected >= 1 ? `${Math.round(p.rejected)}/s refused` : `${Math.round(through)}/s`;
}

// width grows with the root of the rate: twice the calls are a stroke that is
// visibly thicker, and a hundred times the calls still fit.
function width(rps) { return Math.min(14, 2 + Math.sqrt(rps)); }

const FAULTS = { latency: "too slow", error: "errors", blackhole: "black hole", stopped: "stopped" };

function updateNode({ g, sub }, name, store, point) {
  if (name === "load") {
    sub.textContent = "open loop";
    return;
  }
  const service = store.state.services[name];
  const faults = store.faultsOn(name);
  g.dataset.state = faults.length > 0 && service?.state === "up" ? "failing" : service?.state ?? "unknown";
  sub.textContent = faults.length > 0 ? `⚠ ${FAULTS[faults[0]]}` : `${Math.round(point?.services[name] ?? 0)}/s · ${service?.state ?? "?"}`;
}
