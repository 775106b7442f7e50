// The story in one sentence: what is wrong, what the breaker does about it, and
// what to look at. It reads only what /state says.
const story = document.getElementById("story");
const headline = document.getElementById("headline");
const detail = document.getElementById("detail");

const WORDS = {
  latency: "answers too late",
  error: "answers most calls with an error",
  blackhole: "takes every call and never answers",
  stopped: "is down and refuses connections",
};

let recovered = 0; // when the breaker last closed, by the shop's clock
let before = "closed";

export function drawStory(store) {
  const b = store.breaker("orders/users");
  if (!b) return;
  if (before !== "closed" && b.state === "closed") recovered = store.now();
  before = b.state;
  const [tone, head, body] = tell(store, b);
  story.dataset.tone = tone;
  // Set only when it changes: this is a live region, and would be read out ten
  // times a second.
  if (headline.textContent !== head) headline.textContent = head;
  detail.textContent = body;
}

function tell(store, b) {
  const faults = store.faultsOn("users");
  const point = store.last();
  const order = point?.ops.order;
  const calls = point?.breakers["orders/users"];
  if (b.state === "closed" && faults.length > 0) {
    if (b.threshold === 0) {
      return ["watch", `Users ${WORDS[faults[0]]}, and the breakers are switched off.`,
        `Nothing ends the waiting: every order asks again, up to its time limit${latency(order, ". The median order takes ")}.`];
    }
    const share = b.calls > 0 ? Math.round((100 * b.failures) / b.calls) : 0;
    return ["watch", `Users ${WORDS[faults[0]]}.`,
      `Orders still asks, and every order waits for it. ${share} % of the calls in the window failed; at ${Math.round(b.threshold * 100)} % the breaker opens.`];
  }
  if (b.state !== "closed") {
    const refused = Math.round(calls?.rejected ?? 0);
    const head = faults.length > 0
      ? "The breaker is open: orders no longer waits for users."
      : "Users is well again, and the breaker will find out by itself.";
    const probe = b.state === "half-open"
      ? "One call is on its way as a probe."
      : `Next probe in ${Math.max(0, b.retry_after_ns / 1e9).toFixed(1)} s.`;
    return ["open", head,
      `${refused} calls a second are refused at once${order?.p50 < 50 ? latency(order, ": an order hears “not now” after ") : ""}. Looking at orders goes on as before. ${probe}`];
  }
  if (store.now() - recovered < 8000) {
    return ["ok", "Recovered: a probe came back well, and the breaker closed.",
      "Nobody restarted anything. Orders are taken again."];
  }
  return ["ok", "All is well. Break the user service and see what happens to orders.",
    `${store.state.load.rps} requests a second come in${latency(order, "; an order takes ")}, because it asks users who is ordering.`];
}

function latency(order, words) {
  return order?.p50 == null ? "" : `${words}${order.p50 < 10 ? order.p50.toFixed(1) : Math.round(order.p50)} ms`;
}
