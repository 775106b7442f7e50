// The story in one sentence: what is wrong, what the breaker does about it, and
// what to look at. It reads only what /state says.
import { byID, millis, put } from "./dom.js";
import { serviceOf } from "./store.js";

const WORDS = {
  latency: "answers too late", error: "answers with errors", blackhole: "takes calls and never answers",
  stopped: "is down and refuses connections", drop: "does its work and loses the answer", refuse: "says no to everything",
  reset: "resets connections", down: "is cut off", crash: "dies in the middle of its work",
  duplicate: "delivers messages more than once", reorder: "delivers messages out of order",
};

let recovered = { at: 0, name: "" };
let before = new Set();

export function drawStory(store) {
  const open = new Set(Object.entries(store.state.breakers).filter(([, b]) => b.state !== "closed").map(([name]) => name));
  for (const name of before) if (!open.has(name)) recovered = { at: store.now(), name };
  before = open;
  const [tone, head, body] = tell(store, [...open][0]);
  const story = byID("story");
  if (story.dataset.tone !== tone) story.dataset.tone = tone;
  put(byID("headline"), head);
  put(byID("detail"), body);
}

function tell(store, open) {
  const broken = Object.entries(store.state.lamps ?? {}).find(([, l]) => l.status === "broken");
  if (broken) return ["open", `Lamp ${broken[0]} is broken.`, `${broken[1].equation}: ${broken[1].detail}`];
  const order = store.last()?.ops.order;
  if (open) return tellOpen(store, open, order);
  const [target, kind] = firstFault(store);
  if (target) {
    const callee = target.split(">").at(-1);
    const [name, b] = Object.entries(store.state.breakers)
      .filter(([n]) => serviceOf(n.split("/")[1]) === serviceOf(callee))
      .sort(([, a], [, c]) => c.rate - a.rate)[0] ?? [];
    const rest = b && b.threshold > 0
      ? `${Math.round(100 * b.rate)} % of the calls ${name.replace("/", " → ")} in the window failed; at ${Math.round(b.threshold * 100)} % the breaker opens.`
      : "No breaker will open for it: watch how long everybody waits.";
    return ["watch", `${cap(callee)} ${WORDS[kind] ?? kind}.`, rest];
  }
  if (store.now() - recovered.at < 8000) {
    return ["ok", `Recovered: a probe came back well, and ${recovered.name.replace("/", " → ")} closed.`, "Nobody restarted anything."];
  }
  return ["ok", "All is well. Break something, and see what happens to the rest.",
    `${store.state.load.rps} requests a second come in; an order takes ${millis(order?.p50)} and seven steps over three services. To begin with, put payments into a black hole: key 3.`];
}

function tellOpen(store, name, order) {
  const b = store.breaker(name), [caller, callee] = name.split("/");
  const refused = Math.round(store.last()?.breakers[name]?.rejected ?? 0);
  const probe = b.state === "half-open" ? "One call is on its way as a probe."
    : `Next probe in ${Math.max(0, b.retry_after_ns / 1e9).toFixed(1)} s.`;
  const sick = store.faultsOn(callee).length > 0 || store.faultsOn(serviceOf(callee)).length > 0;
  return ["open", sick ? `The breaker is open: ${caller} no longer waits for ${callee}.` : `${cap(callee)} is well again, and the breaker will find out by itself.`,
    `${refused} calls a second are refused at once; an order hears back after ${millis(order?.p50)}. ${probe}`];
}

function firstFault(store) {
  const f = store.state.faults[0];
  if (f) return [f.target, f.kind];
  const down = Object.entries(store.state.services).find(([, s]) => s.state === "stopped");
  return down ? [down[0], "stopped"] : [];
}

const cap = (s) => s.charAt(0).toUpperCase() + s.slice(1);
