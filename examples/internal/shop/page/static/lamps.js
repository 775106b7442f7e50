// P2: the invariants. Each lamp shows its equation and both numbers; its state is a
// shape and a word beside the colour. Changes are read out politely.
import { byID, el, part, put, rows } from "./dom.js";

const ORDER = ["money", "stock", "orders", "sagas", "versions", "lag", "stale", "load", "history"];
const GLYPHS = { ok: "●", broken: "✕", unknown: "?" };

export function createLamps() {
  const list = byID("lamps"), news = byID("lamp-news");
  const told = {};
  return {
    draw(store) {
      const lamps = store.state.lamps ?? {};
      rows(list, ORDER.filter((n) => lamps[n]), (n) => n, create, (li, name) => {
        const lamp = lamps[name];
        li.dataset.status = lamp.status;
        li.title = `${name} is ${lamp.status}\n${lamp.equation}\n${lamp.detail}`;
        put(part(li, "glyph"), GLYPHS[lamp.status] ?? "?");
        put(part(li, "status"), lamp.status);
        put(part(li, "detail"), lamp.detail);
        if (told[name] && told[name] !== lamp.status) put(news, `Lamp ${name} is ${lamp.status}: ${lamp.detail}`);
        told[name] = lamp.status;
      });
    },
  };
}

function create(name) {
  return el("li", { tabindex: 0 },
    el("span", { class: "glyph", "data-part": "glyph", "aria-hidden": "true" }), el("b", {}, name), " ",
    el("span", { class: "visually-hidden", "data-part": "status" }),
    el("small", { "data-part": "detail" }));
}
