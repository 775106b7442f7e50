// Store holds what the stream has told: the present state, two minutes of history,
// and the newest sagas, traces and events. Everything in it is bounded, so a page may
// stay open for days.
const KEEP_MS = 125_000;
const KEEP_NEWS = 200;
const KEEP_SAGAS = 40;
const KEEP_TRACES = 200;
const KEEP_EVENTS = 120;

export class Store {
  constructor() {
    this.state = null;
    this.points = [];
    this.moves = []; // changes of breakers
    this.news = [];
    this.sagas = new Map(); // by id, oldest first
    this.traces = new Map(); // the spans of each, by trace id, oldest first
    this.events = []; // of the services' logs
    this.run = []; // orders taken per second since the scenario began
    this.ghost = []; // the same of the run before
    this.skew = 0; // the shop's clock minus ours
  }

  // now is the shop's time: every time on the page is of that one clock.
  now() { return Date.now() + this.skew; }

  reset(snapshot) {
    this.points = snapshot.points ?? [];
    this.news = snapshot.news ?? [];
    this.moves = [];
    for (const record of snapshot.moves ?? []) this.addMove(record);
    this.sagas.clear();
    this.traces.clear();
    this.events = [];
    for (const record of snapshot.tails?.saga ?? []) this.addSaga(record);
    for (const record of snapshot.tails?.span ?? []) this.addSpan(record);
    for (const record of snapshot.tails?.event ?? []) this.addEvent(record);
    this.setState(snapshot.state);
  }

  setState(state) {
    const was = this.state?.scenario.running;
    if (!was && state.scenario.running) [this.ghost, this.run] = [this.run, []];
    this.state = state;
    this.skew = state.at - Date.now();
  }

  // A snapshot may already hold what then comes as an event, hence the checks
  // for what is known.
  addPoint(point) {
    const last = this.points.at(-1);
    if (last && point.at <= last.at) return;
    this.points.push(point);
    const oldest = point.at - KEEP_MS;
    while (this.points.length > 0 && this.points[0].at < oldest) this.points.shift();
    if (this.state?.scenario.running && this.run.length < 1500) this.run.push(point.ops.order.ok + point.ops.order.fallback);
  }

  // past is what the run before had at the same moment of its script.
  past(point) {
    const s = this.state?.scenario;
    if (!s?.running || point.at < s.started) return null;
    return this.ghost[Math.round((point.at - s.started) / 200)] ?? null;
  }

  // addSaga adds one line of a saga's log. The start names the steps, a pivot with
  // an exclamation mark.
  addSaga({ data: r }) {
    let saga = this.sagas.get(r.saga);
    if (!saga) {
      saga = { id: r.saga, name: r.name, steps: new Map(), state: "running", at: 0, cause: "" };
      this.sagas.set(r.saga, saga);
      if (this.sagas.size > KEEP_SAGAS) this.sagas.delete(this.sagas.keys().next().value);
    }
    if (r.kind === "start") {
      for (const word of (r.key ?? "").split(" ")) {
        const step = word.replace(/[+!].*$/, "");
        if (step && !saga.steps.has(step)) saga.steps.set(step, { pivot: word.includes("!"), state: "" });
      }
    }
    if (r.state) saga.state = r.state;
    if (r.error) saga.cause = `${r.step ?? ""}: ${r.error}`;
    saga.at = Date.parse(r.at);
    if (r.step) saga.steps.set(r.step, { ...saga.steps.get(r.step), state: stepState(r, saga), attempt: r.attempt });
  }

  addSpan({ data: s }) {
    let spans = this.traces.get(s.trace);
    if (!spans) {
      spans = [];
      this.traces.set(s.trace, spans);
      if (this.traces.size > KEEP_TRACES) this.traces.delete(this.traces.keys().next().value);
    }
    if (spans.length < 60) spans.push(s);
  }

  addEvent(record) {
    this.events.push({ service: record.service, ...record.data });
    if (this.events.length > KEEP_EVENTS) this.events.shift();
  }

  addMove(record) {
    const move = { at: Date.parse(record.at), ...record.data };
    if (this.moves.some((m) => m.at === move.at && m.name === move.name && m.to === move.to)) return;
    this.moves.push(move);
    this.moves.sort((a, b) => a.at - b.at);
    // One change beyond the window is kept: it says what the window begins with.
    if (this.moves.length > 500) this.moves.shift();
  }

  addNews(line) {
    if (this.news.some((n) => n.at === line.at && n.text === line.text)) return false;
    this.news.push(line);
    if (this.news.length > KEEP_NEWS) this.news.shift();
    return true;
  }

  // edges sums the breakers of each caller and callee, over the instances: the worst
  // state, and the rates of the last second.
  edges() {
    const point = this.last();
    const edges = new Map();
    for (const [name, b] of Object.entries(this.state?.breakers ?? {})) {
      const [caller, instance] = name.split("/");
      const from = serviceOf(caller), to = serviceOf(instance), key = `${from}/${to}`;
      const e = edges.get(key) ?? { key, from, to, state: "closed", through: 0, rejected: 0, instances: 0, open: 0 };
      const p = point?.breakers[name];
      e.instances++;
      if (b.state !== "closed") e.open++;
      if (RANK[b.state] > RANK[e.state]) e.state = b.state;
      if (p) {
        e.through += p.passed + p.failed + p.ignored;
        e.rejected += p.rejected;
      }
      edges.set(key, e);
    }
    return edges;
  }

  breaker(name) { return this.state?.breakers[name] ?? null; }
  last() { return this.points.at(-1) ?? null; }

  // faultsOn lists what is wrong with a service on purpose.
  faultsOn(service) {
    const faults = (this.state?.faults ?? []).filter((f) => f.target.split(">").at(-1) === service).map((f) => f.kind);
    if (this.state?.services[service]?.state === "stopped") faults.push("stopped");
    return faults;
  }

  // spans turns the points into stretches of time in which a fault was in force.
  spans() {
    const spans = [];
    const open = new Map();
    for (const p of this.points) {
      for (const [name, s] of open) {
        if (!p.faults.includes(name)) open.delete(name);
        else s.to = p.at;
      }
      for (const name of p.faults) {
        if (open.has(name)) continue;
        const s = { name, from: p.at, to: p.at };
        open.set(name, s);
        spans.push(s);
      }
    }
    const newest = this.last()?.at ?? 0;
    for (const s of open.values()) if (s.to === newest) s.to = this.now();
    return spans;
  }

  // strips are a breaker's states from..to, as stretches of time.
  strips(name, from, to) {
    const moves = this.moves.filter((m) => m.name === name);
    const strips = [];
    let state = moves.findLast((m) => m.at <= from)?.to ?? moves.find((m) => m.at > from)?.from ?? this.breaker(name)?.state ?? "closed";
    let start = Math.max(from, this.points[0]?.at ?? from);
    for (const m of moves) {
      if (m.at <= from || m.at > to) continue;
      strips.push({ state, from: start, to: m.at });
      state = m.to;
      start = m.at;
    }
    strips.push({ state, from: start, to });
    return strips;
  }
}

const RANK = { closed: 0, "half-open": 1, open: 2 };

// FAULTS are the kinds of faults in two words at most.
export const FAULTS = { latency: "too slow", error: "errors", blackhole: "black hole", stopped: "stopped", drop: "loses answers", refuse: "refuses", reset: "resets", down: "cut off" };

// serviceOf is the service that a replica belongs to: products of products-2.
export const serviceOf = (replica) => replica.replace(/-\d+$/, "");

function stepState(r, saga) {
  const back = ["compensating", "compensated", "abandoned"].includes(saga.state);
  switch (r.kind) {
    case "begin": return back ? "undoing" : "doing";
    case "done": return "done";
    case "undone": return "undone";
    case "refuse": return "refused";
    case "stuck": return "stuck";
    case "fail": case "undofail": return back ? "undo fails" : "fails";
    default: return saga.steps.get(r.step)?.state ?? "";
  }
}
