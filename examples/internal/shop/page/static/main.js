// The page is a view of one stream: a snapshot to begin with, then changes.
// Each panel gets the store and reads what it shows; none talks to another.
import { byID, put } from "./dom.js";
import { connect } from "./stream.js";
import { Store } from "./store.js";
import { drawStory } from "./story.js";
import { createLamps } from "./lamps.js";
import { createMap } from "./map.js";
import { createBreakers } from "./breakers.js";
import { createCharts } from "./charts.js";
import { createRetry } from "./retry.js";
import { createSagas } from "./sagas.js";
import { createEvents } from "./events.js";
import { createCache } from "./cache.js";
import { createShards } from "./shards.js";
import { createQueues } from "./queues.js";
import { createTraces } from "./traces.js";
import { createScenarios, createSwitches } from "./scenarios.js";
import { createControls } from "./controls.js";
import { createLog } from "./log.js";
import { startTheme } from "./theme.js";

const store = new Store();
const scenarios = createScenarios();
const controls = createControls(store, scenarios.button);
const breakers = createBreakers();
const charts = createCharts();
const log = createLog(byID("log"));
const panels = [
  { draw: drawStory }, createLamps(), createMap(byID("map"), controls.select), breakers, createRetry(), createSagas(),
  createEvents(), createCache(), createShards(), createQueues(), createTraces(), scenarios, createSwitches(), controls,
];
const span = byID("span");
span.addEventListener("change", drawTime);

function drawTime() {
  if (!store.state) return;
  const to = store.now();
  const from = to - Number(span.value) * 1000;
  breakers.drawTime(store, from, to);
  charts.draw(store, from, to);
}

const tagline = document.querySelector(".tagline");

function drawState() {
  const { sabotage, telemetry } = store.state;
  if (sabotage) put(tagline, `Broken on purpose: ${sabotage}`);
  put(byID("dropped"), telemetry.dropped > 0 ? `${telemetry.dropped} records of telemetry dropped` : "");
  for (const p of panels) p.draw(store);
}

startTheme(() => { charts.restyle(); drawTime(); });

const each = (add) => (records) => { for (const r of records) add(r); };

connect("events", {
  snapshot(data) {
    store.reset(data);
    log.reset(store.news);
    drawState();
    drawTime();
  },
  state(data) {
    store.setState(data);
    drawState();
  },
  load(data) {
    store.addPoint(data);
    drawTime();
  },
  breaker(data) { store.addMove(data); },
  sagas: each((r) => store.addSaga(r)),
  spans: each((r) => store.addSpan(r)),
  events: each((r) => store.addEvent(r)),
  log(data) {
    if (store.addNews(data)) log.add(data);
  },
});
