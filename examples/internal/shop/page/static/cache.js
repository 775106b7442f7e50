// P8: the way of a read through the layers. Each bar is what reached a layer in the
// last second, its filled part what was answered there.
import { byID, el, part, put, rows, send } from "./dom.js";

const LAYERS = [["cdn", "edge, CDN"], ["gateway", "gateway"], ["l1", "L1, in process"], ["l2", "L2, shared"], ["query", "query cache"]];

export function createCache() {
  const list = byID("cache-rows"), empty = byID("cache-empty");
  let before = null, shown = [];
  byID("cache-invalidate").addEventListener("click", () => send("POST", "control/cache/invalidate", { key: "P-1" }));
  byID("cache-stampede").addEventListener("click", () => send("POST", "control/cache/stampede", { key: "P-1" }));
  return {
    draw(store) {
      const cache = store.state.cache, now = store.state.at;
      empty.hidden = Object.keys(cache).length > 0;
      if (!before || now - before.at >= 1000 || now < before.at) {
        shown = LAYERS.filter(([key]) => cache[key]).map(([key, name]) => rate(key, name, cache[key], before?.cache[key], before ? (now - before.at) / 1000 : 1));
        before = { at: now, cache };
      }
      const widest = Math.max(1, ...shown.map((l) => l.asked));
      rows(list, shown, (l) => l.key, create, (row, l) => {
        part(row, "bar").style.width = `${(100 * l.asked) / widest}%`;
        part(row, "hit").style.width = `${l.asked > 0 ? (100 * l.hits) / l.asked : 0}%`;
        put(part(row, "text"), `${Math.round(l.asked)}/s · ${l.asked > 0 ? Math.round((100 * l.hits) / l.asked) : 0} % hit${l.stale > 0 ? ` · ${Math.round(l.stale)}/s stale` : ""} · ${Math.round(l.loads)}/s loads`);
      });
    },
  };
}

// rate compares two totals; one that has fallen is of a restarted service.
function rate(key, name, now, then, seconds) {
  const per = (field) => (then && now[field] >= then[field] ? (now[field] - then[field]) / seconds : 0);
  return { key, name, asked: per("hits") + per("misses"), hits: per("hits"), stale: per("stale"), loads: per("loads") };
}

function create(layer) {
  return el("li", {}, el("span", {}, layer.name), el("span", { class: "bar", "data-part": "bar" }, el("i", { "data-part": "hit" })), el("small", { "data-part": "text" }));
}
