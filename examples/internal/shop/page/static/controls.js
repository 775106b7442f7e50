// The controls: faults on the user service, the scripted scenario, the load, and
// a key for each.
const SCENARIO = "users-blackhole";

const FAULTS = [
  { key: "1", kind: "latency", name: "Slow", hint: "answers 2 s late", body: { target: "users", kind: "latency=2s" } },
  { key: "2", kind: "error", name: "Errors", hint: "80 % answer 500", body: { target: "users", kind: "error=80%" } },
  { key: "3", kind: "blackhole", name: "Black hole", hint: "never answers", body: { target: "users", kind: "blackhole" } },
  { key: "4", kind: "stopped", name: "Stop", hint: "refuses connections" },
];

export function createControls(store) {
  const problem = document.getElementById("problem");
  const send = async (method, path, body) => {
    problem.textContent = "";
    try {
      const answer = await fetch(path, {
        method, body: body && JSON.stringify(body), headers: body && { "Content-Type": "application/json" },
      });
      if (!answer.ok) problem.textContent = (await answer.json()).detail ?? answer.statusText;
    } catch {
      problem.textContent = "The shop does not answer.";
    }
  };
  const buttons = FAULTS.map((f) => createFault(f, () => toggle(f, store, send)));
  const run = createRun(store, send);
  const rps = createLoad(send);
  bindKeys([
    ...FAULTS.map((f, i) => [f.key, `${f.name}: ${f.hint}`, () => buttons[i].click()]),
    ["r", "run or stop the scenario", () => run.button.click()],
    ["c", "clear every fault", () => clearAll(store, send)],
    ["t", "change the theme", () => document.getElementById("theme").click()],
  ]);
  return {
    draw() {
      FAULTS.forEach((f, i) => buttons[i].setAttribute("aria-pressed", String(store.faultsOn("users").includes(f.kind))));
      run.draw();
      rps.draw(store.state.load.rps);
    },
  };
}

function createFault(f, click) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const b = document.createElement("b"), key = document.createElement("kbd"), small = document.createElement("small");
  key.textContent = f.key;
  b.append(f.name, key);
  small.textContent = f.hint;
  button.append(b, small);
  button.addEventListener("click", click);
  document.getElementById("faults").append(button);
  return button;
}

// toggle asks and does not draw: the button is pressed when the stream says that
// the fault is in force, so it cannot show what is not the case.
async function toggle(f, store, send) {
  const on = store.faultsOn("users").includes(f.kind);
  if (f.kind === "stopped") {
    await send("POST", `control/services/users/${on ? "start" : "stop"}`);
    return;
  }
  if (!on) {
    await send("POST", "control/faults", f.body);
    return;
  }
  for (const rule of store.state.faults) {
    if (rule.target === "users" && rule.kind === f.kind) await send("DELETE", `control/faults/${encodeURIComponent(rule.id)}`);
  }
}

async function clearAll(store, send) {
  await send("DELETE", "control/faults");
  if (store.faultsOn("users").includes("stopped")) await send("POST", "control/services/users/start");
}

function createRun(store, send) {
  const button = document.getElementById("run"), bar = document.getElementById("progress"), line = document.getElementById("script-line");
  const running = () => store.state?.scenario.running;
  button.addEventListener("click", () => send(running() ? "DELETE" : "POST", `control/scenarios/${store.state?.scenario.running ? store.state.scenario.name : SCENARIO}`));
  return {
    button,
    draw() {
      const s = store.state.scenario;
      bar.hidden = !s.running;
      button.firstChild.textContent = s.running ? "Stop " : "Run ";
      if (s.running) bar.value = (store.now() - s.started) / 1000 / s.lengthS;
      if (s.name) line.textContent = s.line;
    },
  };
}

function createLoad(send) {
  const input = document.getElementById("rps"), out = document.getElementById("rps-out");
  let editing = 0; // until when the slider is the user's and not the stream's
  input.addEventListener("input", () => { editing = Date.now() + 1000; out.textContent = input.value; });
  input.addEventListener("change", () => send("POST", "control/load", { rps: Number(input.value) }));
  return {
    draw(rps) {
      if (Date.now() < editing) return;
      input.value = rps;
      out.textContent = rps;
    },
  };
}

// bindKeys takes [key, words, action]; "?" lists them.
function bindKeys(keys) {
  const dialog = document.getElementById("keys"), list = document.getElementById("key-list");
  for (const [key, words] of keys) {
    const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
    kbd.textContent = key.toUpperCase();
    dt.append(kbd);
    dd.textContent = words;
    list.append(dt, dd);
  }
  document.getElementById("help").addEventListener("click", () => dialog.showModal());
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.repeat || dialog.open || e.target.matches("select")) return;
    if (e.key === "?") dialog.showModal();
    keys.find(([key]) => key === e.key.toLowerCase())?.[2]();
  });
}
