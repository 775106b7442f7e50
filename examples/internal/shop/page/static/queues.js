// The queues of the broker, and the dead letters of the mailer: what could not be handled
// in five tries lies there until somebody has it tried again.
import { byID, el, part, put, rows, send } from "./dom.js";

export function createQueues() {
  const list = byID("queue-rows"), letters = byID("dead-rows"), empty = byID("dead-empty"), replay = byID("dead-replay");
  let asked = -1, at = 0;
  replay.addEventListener("click", () => send("POST", "control/dead/replay"));
  byID("dead-send").addEventListener("click", () => send("POST", "control/send", { topic: "email-queue", body: "a letter without an address" }));
  return {
    draw(store) {
      const queues = Object.entries(store.state.broker).sort(([a], [b]) => a.localeCompare(b))
        .filter(([name]) => !name.includes(".dead/") && (store.state.saga === "choreography" || !name.startsWith("order-events")));
      rows(list, queues, ([name]) => name, createQueue, (row, [, q]) => {
        row.dataset.tone = q.delayed > 0 ? "watch" : "";
        for (const figure of ["ready", "delayed", "dead"]) put(part(row, figure), q[figure]);
      });
      const lie = store.state.dead.mailer;
      if (lie == null) return; // the mailer is out
      replay.disabled = lie === 0;
      put(replay, `replay ${lie}`);
      empty.hidden = lie > 0;
      // One that was replayed and has died again is another letter, of the same number.
      if (lie === asked && (lie === 0 || store.now() - at < 2000)) return;
      [asked, at] = [lie, store.now()];
      fetch("look/dead").then((r) => (r.ok ? r.json() : [])).catch(() => [])
        .then((all) => rows(letters, all.slice(-5).reverse(), (l) => l.id + l.died, createLetter));
    },
  };
}

function createQueue([name]) {
  const [topic, group] = name.split("/");
  return el("tr", {}, el("th", { scope: "row" }, topic, el("small", {}, ` → ${group}`)),
    ...["ready", "delayed", "dead"].map((figure) => el("td", { "data-part": figure })));
}

function createLetter(l) {
  return el("li", {}, el("b", {}, new Date(l.died).toLocaleTimeString([], { hour12: false })), ` ${l.body.slice(0, 60)} `, el("small", {}, l.reason));
}
