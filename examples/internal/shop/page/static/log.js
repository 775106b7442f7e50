// The event log, newest first. It shows 200 lines and forgets the oldest.
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
  const li = document.createElement("li"), time = document.createElement("time"), text = document.createElement("span");
  const at = new Date(n.at);
  time.dateTime = at.toISOString();
  time.textContent = at.toLocaleTimeString([], { hour12: false });
  text.textContent = n.text; // never as HTML: names of users may be in it
  li.dataset.tone = tone(n);
  li.append(document.createElement("i"), time, text);
  return li;
}

function tone(n) {
  if (n.kind === "fault") return n.text.includes("cleared") ? "" : "fault";
  if (n.kind !== "breaker") return "";
  if (n.text.includes("half-open")) return "half";
  return n.text.includes(" opened") ? "open" : "ok";
}
