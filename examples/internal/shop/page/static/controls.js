// The controls of P1 and P10: what is done to the chosen service, which faults are
// in force, the load, and a key for each.
import { byID, el, part, put, rows, send } from "./dom.js";
import { serviceOf } from "./store.js";

const FAULTS = [
  { key: "1", kind: "latency", name: "Slow", hint: "answers 2 s late", word: "latency=2s" },
  { key: "2", kind: "error", name: "Errors", hint: "80 % answer 500", word: "error=80%" },
  { key: "3", kind: "blackhole", name: "Black hole", hint: "never answers", word: "blackhole" },
  { key: "4", kind: "drop", name: "Lost answers", hint: "does it, 30 % hear nothing", word: "drop=30%" },
  { key: "5", kind: "refuse", name: "Refuse", hint: "30 % get a definite no", word: "refuse=30%" },
  { key: "6", kind: "stopped", name: "Stop", hint: "refuses connections" },
];

export function createControls(store, run) {
  const target = byID("target");
  const select = (name) => {
    if (![...target.options].some((o) => o.value === name)) target.append(el("option", { value: name }, name));
    target.value = name;
    draw();
  };
  const buttons = FAULTS.map((f) => createFault(f, () => toggle(f, store, target.value)));
  const rps = createLoad();
  for (const action of ["kill", "restart"]) {
    byID(action).addEventListener("click", () => send("POST", `control/services/${encodeURIComponent(target.value)}/${action}`));
  }
  const scale = (by) => () => send("POST", "control/scale", { service: "products", n: replicas(store, "products") + by });
  byID("scale-up").addEventListener("click", scale(1));
  byID("scale-down").addEventListener("click", scale(-1));
  byID("clear").addEventListener("click", () => clearAll(store));
  byID("own-fault").addEventListener("submit", (e) => {
    e.preventDefault();
    const [kind, ...options] = byID("own-words").value.trim().split(/\s+/);
    send("POST", "control/faults", { target: target.value, kind, ...Object.fromEntries(options.map((o) => o.split(/=(.*)/).slice(0, 2))) });
  });
  // Without a state there is nothing to break. What is disabled does nothing by its key.
  const enable = (on) => document.querySelectorAll(".controls button, #scale-up, #scale-down, #rps").forEach((e) => { e.disabled = !on; });
  enable(false);
  const load = (by) => () => store.state && send("POST", "control/load", { rps: Math.max(0, Math.min(2000, store.state.load.rps + by)) });
  bindKeys([
    ...FAULTS.map((f, i) => [f.key, `${f.name}: ${f.hint}`, () => buttons[i].click()]),
    ["n", "choose the next service to break", () => store.state && select(next(target))],
    ["k", "kill it", () => byID("kill").click()],
    ["s", "restart it", () => byID("restart").click()],
    ["c", "clear every fault", () => byID("clear").click()],
    ["r", "run or stop the scenario", () => run.click()],
    ["+", "more load", load(10)],
    ["-", "less load", load(-10)],
    ["t", "change the theme", () => byID("theme").click()],
  ]);

  function draw() {
    if (!store.state) return;
    enable(true);
    for (const name of Object.keys(store.state.services).sort()) {
      if (![...target.options].some((o) => o.value === name)) target.append(el("option", { value: name }, name));
    }
    if (!draw.chosen && store.state.services.payments) {
      draw.chosen = true; // where the most depends on it
      target.value = "payments";
    }
    put(byID("break-name"), target.value);
    const on = new Set(store.faultsOn(target.value));
    FAULTS.forEach((f, i) => buttons[i].setAttribute("aria-pressed", String(on.has(f.kind))));
    put(byID("replicas"), replicas(store, "products"));
    rows(byID("active"), store.state.faults, (f) => f.id, createActive, (row, f) => put(part(row, "text"), `${f.target}: ${f.text}`));
    rps.draw(store.state.load.rps);
  }
  return { draw, select };
}

const replicas = (store, service) => Object.keys(store.state?.services ?? {}).filter((n) => serviceOf(n) === service).length;

const next = (target) => target.options[(target.selectedIndex + 1) % target.options.length].value;

function createActive(f) {
  return el("li", {}, el("span", { "data-part": "text" }),
    el("button", { type: "button", class: "tiny", "aria-label": `clear ${f.target} ${f.kind}`, onclick: () => send("DELETE", `control/faults/${encodeURIComponent(f.id)}`) }, "clear"));
}

function createFault(f, click) {
  const button = el("button", { type: "button", "aria-pressed": "false", "data-kind": f.kind, onclick: click },
    el("b", {}, f.name, el("kbd", {}, f.key)), el("small", {}, f.hint));
  byID("faults").append(button);
  return button;
}

// toggle asks and does not draw: the button is pressed when the stream says that
// the fault is in force, so it cannot show what is not the case.
async function toggle(f, store, target) {
  const on = store.faultsOn(target).includes(f.kind);
  if (f.kind === "stopped") {
    await send("POST", `control/services/${encodeURIComponent(target)}/${on ? "start" : "stop"}`);
    return;
  }
  if (!on) {
    await send("POST", "control/faults", { target, kind: f.word });
    return;
  }
  for (const rule of store.state.faults) {
    if (rule.target.split(">").at(-1) === target && rule.kind === f.kind) await send("DELETE", `control/faults/${encodeURIComponent(rule.id)}`);
  }
}

async function clearAll(store) {
  await send("DELETE", "control/faults");
  for (const [name, s] of Object.entries(store.state.services)) {
    if (s.state === "stopped") await send("POST", `control/services/${encodeURIComponent(name)}/start`);
  }
}

function createLoad() {
  const input = byID("rps"), out = byID("rps-out");
  let editing = 0; // until when the slider is the user's and not the stream's
  input.addEventListener("input", () => { editing = Date.now() + 1000; put(out, input.value); });
  input.addEventListener("change", () => send("POST", "control/load", { rps: Number(input.value) }));
  return {
    draw(rps) {
      if (Date.now() < editing) return;
      input.value = rps;
      put(out, rps);
    },
  };
}

// bindKeys takes [key, words, action]; "?" lists them.
function bindKeys(keys) {
  const dialog = byID("keys"), list = byID("key-list");
  for (const [key, words] of keys) list.append(el("dt", {}, el("kbd", {}, key.toUpperCase())), el("dd", {}, words));
  byID("help").addEventListener("click", () => dialog.showModal());
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.repeat || dialog.open || e.target.matches("select, input:not([type=range])")) return;
    if (e.key === "?") dialog.showModal();
    keys.find(([key]) => key === e.key.toLowerCase())?.[2]();
  });
}
