// The event log, newest first. It shows 200 lines and forgets the oldest.
import { el } from "./dom.js";

const MOST = 200;

export function createLog(list) {
  return {
    reset(news) {
      list.replaceChildren();
      for (const n of news) list.prepend(line(n));
    },
    add(n) {
      list.prepend(line(n));
      if (list.children.length > MOST) list.lastElementChild.remove();
    },
  };
}

function line(n) {
  const at = new Date(n.at);
  return el("li", { "data-tone": tone(n) }, el("i"), el("time", { datetime: at.toISOString() }, at.toLocaleTimeString([], { hour12: false })), el("span", {}, n.text));
}

function tone(n) {
  if (n.kind === "fault") return n.text.includes("cleared") ? "" : "fault";
  if (n.kind !== "breaker") return "";
  if (n.text.includes("half-open")) return "half";
  return n.text.includes(" opened") ? "open" : "ok";
}
