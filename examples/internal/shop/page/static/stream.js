// connect reads the stream of events and hands each to the handler of its kind.
// A hidden tab closes its stream: a browser allows six connections to one host,
// and a page that nobody looks at must not hold one. EventSource comes back by
// itself after a loss and tells the server what it had last.
export function connect(url, handlers) {
  const lamp = document.getElementById("stream");
  let source = null;

  function show(state, text) {
    lamp.dataset.state = state;
    lamp.lastElementChild.textContent = text;
  }
  function open() {
    if (source) return;
    source = new EventSource(url);
    source.onopen = () => show("live", "live");
    source.onerror = () => show("lost", "no connection, trying again");
    for (const [kind, handle] of Object.entries(handlers)) {
      // Kinds without a handler are not listened to, and cost nothing here.
      source.addEventListener(kind, (e) => handle(JSON.parse(e.data)));
    }
  }
  function close() {
    source?.close();
    source = null;
    show("waiting", "paused");
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  if (!document.hidden) open();
}
