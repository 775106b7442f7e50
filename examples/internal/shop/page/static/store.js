// Store holds what the stream has told: the present state and two minutes of
// history. Everything in it is bounded, so a page may stay open for days.
const KEEP_MS = 125_000;
const KEEP_NEWS = 200;

export class Store {
  constructor() {
    this.state = null;
    this.points = [];
    this.moves = []; // changes of breakers
    this.news = [];
    this.skew = 0; // the shop's clock minus ours
  }

  // now is the shop's time: every time on the page is of that one clock.
  now() { return Date.now() + this.skew; }

  reset(snapshot) {
    this.points = snapshot.points ?? [];
    this.news = snapshot.news ?? [];
    this.moves = [];
    for (const record of snapshot.moves ?? []) this.addMove(record);
    this.setState(snapshot.state);
  }

  setState(state) {
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

  breaker(name) { return this.state?.breakers[name] ?? null; }
  last() { return this.points.at(-1) ?? null; }

  // faultsOn lists what is wrong with a service on purpose.
  faultsOn(service) {
    const faults = (this.state?.faults ?? []).filter((f) => f.target === service).map((f) => f.kind);
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
