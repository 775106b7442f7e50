// What all panels share: making elements, changing only what differs, and asking
// the shop for something.

// el makes an element. Attributes that begin with "on" are listeners; text enters
// as text, whoever wrote it.
export function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else if (value !== undefined) e.setAttribute(key, value);
  }
  e.append(...children);
  return e;
}

export const byID = (id) => document.getElementById(id);

// put sets a text, unless it is there: a live region would be read out again, and a
// selection would be lost.
export function put(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

// rows keeps one child of parent for each item, in order. A row that stays is the
// same element, so that focus and hover stay too.
export function rows(parent, items, keyOf, create, update) {
  const known = new Map([...parent.children].map((c) => [c.dataset.key, c]));
  items.forEach((item, i) => {
    const key = keyOf(item);
    let row = known.get(key);
    known.delete(key);
    if (!row) {
      row = create(item);
      row.dataset.key = key;
    }
    if (parent.children[i] !== row) parent.insertBefore(row, parent.children[i] ?? null);
    update?.(row, item);
  });
  for (const gone of known.values()) gone.remove();
}

// part is a child of a row by its data-part.
export const part = (row, name) => row.querySelector(`[data-part="${name}"]`);

// send asks the shop to do something and shows what it has against it. What has
// changed comes by the stream.
export async function send(method, path, body) {
  const problem = byID("problem");
  put(problem, "");
  try {
    const answer = await fetch(path, {
      method, body: body && JSON.stringify(body), headers: body && { "Content-Type": "application/json" },
    });
    const doc = await answer.json().catch(() => null);
    if (!answer.ok) put(problem, doc?.detail ?? answer.statusText);
    return answer.ok ? doc : null;
  } catch {
    put(problem, "The shop does not answer.");
    return null;
  }
}

export const number = (n, digits = 0) => (n == null ? "–" : n.toFixed(digits));

export function millis(ms) {
  if (ms == null) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

// What the lanes and the charts share, so that their time axes line up.
export const PLOT_LEFT = 48;
export const PLOT_RIGHT = 14;

let style = null;

// colour reads a colour of the theme; forgetColours is called when it changes.
export function colour(name) {
  style ??= getComputedStyle(document.documentElement);
  return style.getPropertyValue(name).trim();
}
export function forgetColours() { style = null; }
