// P5: a lane for each order: its steps forward, and back where something was undone.
// A saga that is stuck says why, and waits here for somebody to decide.
import { byID, el, part, put, rows, send } from "./dom.js";

const SHOWN = 11;
const GLYPHS = { done: "✓", undone: "↶", doing: "…", undoing: "↶…", refused: "✕", fails: "!", "undo fails": "!", stuck: "■", "": "·" };

export function createSagas() {
  const list = byID("saga-rows"), counts = byID("saga-counts"), stuck = byID("stuck-rows");
  let asked = 0, known = [];
  return {
    draw(store) {
      const s = store.state.sagas;
      put(counts, `${s.running + s.waiting} under way · ${s.compensating} going back · ${s.stuck} stuck · ${s.completed} done · ${s.compensated} undone`);
      // Those in trouble first: of a hundred that go well the newest are enough.
      const all = [...store.sagas.values()].reverse();
      const rank = (g) => (g.state === "stuck" ? 0 : g.state === "compensating" ? 1 : 2);
      rows(list, all.sort((a, b) => rank(a) - rank(b)).slice(0, SHOWN), (g) => g.id, create, update);
      if (s.stuck > 0 && store.now() - asked > 2000) {
        asked = store.now();
        fetchStuck().then((found) => { known = found; });
      }
      rows(stuck, s.stuck > 0 ? known : [], (g) => g.id, createStuck);
    },
  };
}

// fetchStuck asks for the list: the stream has the newest only, and one that is
// stuck may be old.
async function fetchStuck() {
  const answer = await fetch("control/sagas?states=stuck&limit=5").catch(() => null);
  return answer?.ok ? ((await answer.json()) ?? []) : [];
}

function create(saga) {
  return el("li", { class: "saga" }, el("code", { title: saga.id }, saga.id.slice(0, 7)), el("span", { class: "steps", "data-part": "steps" }),
    el("small", { "data-part": "state" }));
}

function update(row, saga) {
  row.dataset.state = saga.state;
  put(part(row, "state"), saga.state === "completed" ? "" : saga.state); // seven ticks say it already
  row.title = saga.cause;
  rows(part(row, "steps"), [...saga.steps], ([name]) => name, ([name]) => el("span", { class: "step" }, name), (chip, [name, s]) => {
    chip.dataset.state = s.state;
    chip.dataset.pivot = s.pivot ? "yes" : "no";
    put(chip, `${GLYPHS[s.state] ?? "·"} ${name}${s.attempt > 1 ? ` ×${s.attempt}` : ""}`);
    chip.title = `${name}: ${s.state || "not yet"}${s.pivot ? ", the pivot" : ""}`;
  });
}

function createStuck(saga) {
  const resolve = (action) => () => send("POST", `control/sagas/${encodeURIComponent(saga.id)}/resolve`,
    { action, step: saga.step ?? "", by: "visitor", reason: "decided on the page" });
  return el("li", { class: "stuck" }, el("b", {}, `■ ${saga.id.slice(0, 7)} stuck at ${saga.step ?? "?"}`), el("small", {}, saga.why ?? saga.cause ?? ""),
    ...["retry", "done", "skip"].map((a) => el("button", { type: "button", class: "tiny", onclick: resolve(a) }, a)));
}
