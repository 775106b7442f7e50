// P6: what the services have written down, newest first, and the state of a wallet
// at any point of its past.
import { byID, el, millis, put, rows, send } from "./dom.js";

const SHOWN = 14;

export function createEvents() {
  const list = byID("event-rows"), filter = byID("event-filter"), models = byID("projection");
  bindWallet();
  bindRebuild(models);
  return {
    draw(store) {
      const names = Object.keys(store.state.projections).sort();
      if (names.join() !== [...models.options].map((o) => o.value).join()) rows(models, names, (n) => n, (n) => el("option", { value: n }, n));
      const want = filter.value.trim().toLowerCase();
      const events = store.events.filter((e) => !want || `${e.service} ${e.type} ${e.stream}`.toLowerCase().includes(want));
      rows(list, events.slice(-SHOWN).reverse(), (e) => e.id, (e) =>
        el("li", {}, el("details", {}, el("summary", {}, el("b", {}, e.type), ` ${e.service} `, el("code", {}, (e.stream ?? "").slice(0, 7)), el("small", {}, ` v${e.version ?? "?"}`)),
          el("pre", {}, JSON.stringify(e, null, 1)))));
    },
  };
}

// bindRebuild folds a read model anew from its first event, and says whether what comes
// out is what the model had.
function bindRebuild(models) {
  const out = byID("rebuild-out");
  byID("rebuild").addEventListener("click", async () => {
    put(out, "…");
    const r = await send("POST", `control/projections/${encodeURIComponent(models.value)}/rebuild`);
    put(out, r ? `${r.events} events in ${millis(r.ms)}: ${r.equal ? "✓ replay = live" : "✕ replay is not what was live"}` : "");
  });
}

// bindWallet shows one wallet at a version; the slider's right end is the present.
function bindWallet() {
  const user = byID("wallet-user"), slider = byID("wallet-at"), out = byID("wallet-out");
  const ask = async (version) => {
    const answer = await fetch(`look/wallets/${encodeURIComponent(user.value)}${version == null ? "" : `?version=${version}`}`).catch(() => null);
    return answer?.ok ? answer.json() : null;
  };
  const show = (w, when) => put(out, w ? `${((w.balanceCents ?? 0) / 100).toFixed(2)} ${when}` : "no such wallet");
  const now = async () => {
    const w = await ask(null);
    slider.max = slider.value = w?.version ?? 0;
    show(w, `at version ${w?.version ?? 0}, now`);
  };
  user.addEventListener("change", now);
  byID("wallet-now").addEventListener("click", now);
  slider.addEventListener("input", async () => show(await ask(slider.value), `at version ${slider.value} of ${slider.max}`));
}

