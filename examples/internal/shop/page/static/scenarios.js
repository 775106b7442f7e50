// P11: the scripts and the switches. The script that runs shows the line that was
// done last; once it has ended, each expectation shows what was seen.
import { byID, el, put, rows, send } from "./dom.js";

export function createScenarios() {
  const select = byID("scenario"), script = byID("script"), button = byID("run"), bar = byID("progress"), line = byID("script-line");
  const texts = new Map();
  let running = false, name = "";
  fetch("control/scenarios").then((r) => r.json()).then((all) => {
    for (const s of all) {
      texts.set(s.name, s.text);
      select.append(el("option", { value: s.name }, s.name));
    }
    select.value = texts.has("payment-blackhole") ? "payment-blackhole" : all[0].name;
    show(select.value);
  }).catch(() => put(line, "The list of scenarios could not be read."));
  select.addEventListener("change", () => show(select.value));
  button.disabled = true; // until it is known what runs, and what could
  button.addEventListener("click", () => send(running ? "DELETE" : "POST", `control/scenarios/${encodeURIComponent(running ? name : select.value)}`));

  function show(which) {
    script.replaceChildren(...(texts.get(which) ?? "").trimEnd().split("\n").map((l) => el("li", { "data-line": normal(l) }, l || " ")));
    script.dataset.name = which;
  }
  return {
    button,
    draw(store) {
      const s = store.state.scenario;
      running = s.running;
      name = s.name;
      select.disabled = s.running;
      button.disabled = !s.running && !select.value;
      if (s.running && script.dataset.name !== s.name) {
        select.value = s.name;
        show(s.name);
      }
      put(button.firstElementChild, s.running ? "Stop" : "Run");
      bar.hidden = !s.running;
      if (s.running) bar.value = (store.now() - s.started) / 1000 / s.lengthS;
      if (s.name) put(line, `${s.name}: ${s.line}`);
      mark(script, s);
    },
  };
}

const normal = (text) => text.replace(/#.*/, "").trim().replace(/\s+/g, " ");

function mark(script, s) {
  const outcomes = new Map(s.name === script.dataset.name && !s.running ? (s.outcomes ?? []).map((o) => [o.text, o]) : []);
  for (const li of script.children) {
    const o = outcomes.get(li.dataset.line);
    const state = o ? (o.ok ? "ok" : "failed") : s.running && s.line && li.dataset.line === s.line ? "now" : "";
    if (li.dataset.state === state) continue;
    li.dataset.state = state;
    li.title = o ? `wanted ${o.wanted}, got ${o.got} at ${o.at.toFixed(1)} s` : "";
  }
}

// createSwitches draws a toggle for each. It is pressed when the stream says so.
export function createSwitches() {
  const list = byID("switches");
  return {
    draw(store) {
      const all = store.state.switches ?? {};
      rows(list, Object.keys(all), (n) => n,
        (n) => el("button", { type: "button", class: "switch", onclick: (e) => send("POST", `control/switches/${n}`, { value: e.currentTarget.getAttribute("aria-pressed") === "true" ? "off" : "on" }) }, n),
        (b, n) => b.setAttribute("aria-pressed", String(all[n] === "on")));
    },
  };
}
