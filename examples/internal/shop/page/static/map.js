// P1: services, and the calls between them with their breakers. Nodes and edges are
// made when they first appear and then only changed: made anew, the dots
// would lose their phase, and the reader his place.
import { FAULTS, serviceOf } from "./store.js";

const NS = "http://www.w3.org/2000/svg";

const PLACES = {
  clients: [70, 130], gateway: [236, 130], orders: [452, 60], products: [660, 176], users: [660, 268],
  payments: [872, 40], inventory: [872, 112], shipping: [872, 184], mailer: [872, 256],
  registry: [236, 276], broker: [452, 276], cache: [452, 212],
};
const W = 126, H = 50;
const GLYPHS = { closed: "", open: "⊘ open ", "half-open": "◐ half-open " };

function element(parent, name, attributes = {}) {
  const e = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  parent.append(e);
  return e;
}

export function createMap(svg, select) {
  const lines = element(svg, "g"), boxes = element(svg, "g"), pills = element(svg, "g");
  const edges = new Map(), nodes = new Map(), still = matchMedia("(prefers-reduced-motion: reduce)");
  const entry = drawEdge(lines, pills, "clients", "gateway");
  nodes.set("clients", drawNode(boxes, "clients"));
  return {
    draw(store) {
      const point = store.last();
      // The dots move with what is drawn anyway. An animation of CSS draws the map sixty
      // times a second, and took most of what the page takes.
      if (!still.matches) lines.setAttribute("stroke-dashoffset", -((store.state.at / 60) % 18));
      const services = new Map();
      for (const [replica, s] of Object.entries(store.state.services)) {
        const name = serviceOf(replica);
        services.set(name, [...(services.get(name) ?? []), { replica, ...s }]);
      }
      for (const [name, replicas] of services) {
        if (!nodes.has(name)) nodes.set(name, drawNode(boxes, name, select));
        updateNode(nodes.get(name), name, replicas, store, point);
      }
      for (const [key, e] of store.edges()) {
        if (!edges.has(key) && e.through < 0.5 && e.state === "closed") continue; // could be called, and is not
        if (!edges.has(key)) edges.set(key, drawEdge(lines, pills, e.from, e.to));
        updateEdge(edges.get(key), e.state, e.through, e.rejected, e.instances > 1 ? ` ${e.instances - e.open}/${e.instances}` : "");
      }
      updateEdge(entry, "closed", store.state.load.rps, 0, "");
      nodes.get("clients").sub.textContent = "open loop";
    },
  };
}

function place(name) { return PLACES[name] ?? [660, 40]; }

function drawNode(parent, name, select) {
  const [x, y] = place(name);
  const g = element(parent, "g", { class: "node", ...(select && { tabindex: 0, role: "button", "aria-label": `break ${name}` }) });
  element(g, "rect", { x: x - W / 2, y: y - H / 2, width: W, height: H, rx: 9 });
  element(g, "text", { x, y: y - 3 }).textContent = name;
  const sub = element(g, "text", { x, y: y + 15, class: "sub" });
  if (select) {
    g.addEventListener("click", () => select(name));
    g.addEventListener("keydown", (e) => {
      if (e.key !== "Enter" && e.key !== " ") return;
      e.preventDefault();
      select(name);
    });
  }
  return { g, sub };
}

// drawEdge ends a line at the boxes, and puts its rate where it has room.
function drawEdge(lines, pills, from, to) {
  const [ax, ay] = place(from), [bx, by] = place(to);
  const side = bx < ax ? -1 : 1; // what lies to the left is entered from the right
  const d = `M${ax + (side * W) / 2} ${ay}L${bx - (side * W) / 2} ${by}`;
  const line = element(lines, "path", { d, class: "edge" });
  const flow = element(lines, "path", { d, class: "flow" });
  const t = Math.abs(bx - ax) > 300 ? 0.72 : 0.5;
  const x = ax + (side * W) / 2 + (bx - ax - side * W) * t, y = ay + (by - ay) * t;
  const rate = element(pills, "text", { x, y: y + 4, class: "rate" });
  return { line, flow, rate, plumbing: to === "broker" || to === "cache" };
}

function updateEdge({ line, flow, rate, plumbing }, state, through, rejected, more) {
  line.setAttribute("stroke-width", state === "open" ? 3 : width(through));
  line.dataset.state = state === "closed" && through < 0.5 ? "idle" : state;
  flow.dataset.on = state === "closed" && through >= 0.5 ? "yes" : "no";
  rate.dataset.state = state;
  const quiet = state === "closed" && (plumbing || through < 0.5);
  const text = quiet ? "" : `${GLYPHS[state] ?? state}${more} ${rejected >= 1 ? `${Math.round(rejected)}/s refused` : `${Math.round(through)}/s`}`;
  if (rate.textContent !== text) rate.textContent = text;
}

// width grows with the root of the rate: twice the calls are a stroke that is
// visibly thicker, and a hundred times the calls still fit.
function width(rps) { return Math.min(12, 2 + Math.sqrt(rps) * 0.8); }

function updateNode({ g, sub }, name, replicas, store, point) {
  const faults = replicas.flatMap((r) => store.faultsOn(r.replica)).concat(replicas.length > 1 ? store.faultsOn(name) : []);
  const up = replicas.filter((r) => r.state === "up").length;
  const state = up === replicas.length ? "up" : up > 0 ? "failing" : replicas[0].state;
  g.dataset.state = faults.length > 0 && state === "up" ? "failing" : state;
  const rps = replicas.reduce((sum, r) => sum + (point?.services[r.replica] ?? 0), 0);
  const count = replicas.length > 1 ? `${up} of ${replicas.length} · ` : "";
  const text = faults.length > 0 ? `⚠ ${FAULTS[faults[0]] ?? faults[0]}` : `${count}${Math.round(rps)}/s · ${state}`;
  if (sub.textContent !== text) sub.textContent = text;
}
