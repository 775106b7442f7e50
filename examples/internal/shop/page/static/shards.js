// P7: the shards of the users, and what more of them would move. The comparison is
// worked out by control, from the topology in force and the next one; it is asked for
// when one of them changes.
import { byID, el, part, put, rows } from "./dom.js";

export function createShards() {
  const list = byID("shard-rows"), table = byID("whatif-rows"), plan = byID("whatif-plan"), count = byID("whatif-n");
  let more = 1, asked = "", before = null, rates = {};
  const step = (by) => () => { more = Math.max(1, more + by); };
  byID("whatif-up").addEventListener("click", step(1));
  byID("whatif-down").addEventListener("click", step(-1));
  return {
    draw(store) {
      const s = store.state.shards, each = Object.entries(s.each ?? {}).sort(([a], [b]) => a.localeCompare(b));
      if (each.length === 0) return;
      const at = store.state.at, seconds = before && (at - before.at) / 1000;
      if (!before || seconds >= 1 || seconds < 0) {
        rates = Object.fromEntries(each.map(([id, sh]) => [id, seconds > 0 ? Math.max(0, (sh.asked - (before.each[id]?.asked ?? 0)) / seconds) : 0]));
        before = { at, each: s.each };
      }
      put(byID("shard-counts"), `${s.keys} users on ${each.length} shards, epoch ${s.epoch}`);
      rows(list, each, ([id]) => id, createShard, (row, [id, sh]) => {
        put(part(row, "slots"), sh.slots);
        put(part(row, "users"), sh.users);
        part(row, "bar").value = s.keys > 0 ? sh.users / s.keys : 0;
        put(part(row, "rate"), `${Math.round(rates[id] ?? 0)}/s`);
        put(part(row, "hot"), sh.hot ? `user ${sh.hot}, ${Math.round(100 * sh.hotShare)} %` : "–");
      });
      more = Math.min(more, 16 - each.length);
      const n = each.length + more, wanted = `${s.epoch} ${n}`;
      put(count, n);
      if (asked === wanted) return;
      asked = wanted;
      fetch(`control/shards?n=${n}`).then((r) => (r.ok ? r.json() : Promise.reject(r)))
        .then((report) => { if (asked === wanted) show(report); }, () => setTimeout(() => { asked = ""; }, 5000));
    },
  };

  function show(r) {
    const slots = r.plan.reduce((sum, f) => sum + f.slots, 0), givers = new Set(r.plan.map((f) => f.from));
    put(plan, `The new ${r.to - r.from > 1 ? "shards" : "shard"} must get ${percent(r.ideal)}. Slots.Diff: ${slots} of ${r.slots} slots move, from ${givers.size} shards to ${new Set(r.plan.map((f) => f.to)).size}.`);
    plan.title = r.plan.map((f) => `${f.from} → ${f.to}: ${f.slots} slots`).join("\n");
    rows(table, r.routers, (o) => o.name, createRouter, (row, o) => {
      const share = o.moved / r.keys;
      row.dataset.tone = share > 1.5 * r.ideal ? "watch" : "";
      put(part(row, "moved"), percent(share));
      part(row, "bar").value = share;
      put(part(row, "fullest"), `${percent(o.fullest)}${o.fullest > 1.2 / r.to ? ", uneven" : ""}`);
    });
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

const cell = (name) => el("td", { "data-part": name });
const bar = (label) => el("td", {}, el("meter", { "data-part": "bar", min: 0, max: 1, value: 0, "aria-label": label }));

function createShard([id]) {
  return el("tr", {}, el("th", { scope: "row" }, id), cell("slots"), cell("users"), bar(`share of the users on ${id}`), cell("rate"), cell("hot"));
}

function createRouter(o) {
  return el("tr", { title: o.by }, el("th", { scope: "row" }, o.name, o.here ? el("small", {}, " this shop") : ""),
    cell("moved"), bar(`keys that move by ${o.name}`), cell("fullest"));
}
