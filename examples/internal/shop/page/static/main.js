// The page is a view of one stream: a snapshot to begin with, then changes.
// Each panel gets the store and reads what it shows; none talks to another.
import { connect } from "./stream.js";
import { Store } from "./store.js";
import { drawStory } from "./story.js";
import { createMap } from "./map.js";
import { createLanes } from "./lanes.js";
import { createCharts } from "./charts.js";
import { createControls } from "./controls.js";
import { createLog } from "./log.js";
import { startTheme } from "./theme.js";

const store = new Store();
const panels = {
  map: createMap(document.getElementById("map")),
  lanes: createLanes(),
  charts: createCharts(),
  controls: createControls(store),
  log: createLog(document.getElementById("log")),
};
const span = document.getElementById("span");
const title = document.getElementById("time-title");
span.addEventListener("change", () => {
  title.textContent = span.value === "60" ? "The last minute" : "The last two minutes";
  drawTime();
});

function drawTime() {
  const to = store.now();
  const from = to - Number(span.value) * 1000;
  panels.lanes.draw(store, from, to);
  panels.charts.draw(store, from, to);
}

const tagline = document.querySelector(".tagline");

function drawState() {
  const { sabotage } = store.state;
  if (sabotage) tagline.textContent = `Broken on purpose: ${sabotage}`;
  drawStory(store);
  panels.map.draw(store);
  panels.controls.draw(store);
}

startTheme(() => { panels.charts.restyle(); drawTime(); });

connect("events", {
  snapshot(data) {
    store.reset(data);
    panels.log.reset(store.news);
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
  log(data) {
    if (store.addNews(data)) panels.log.add(data);
  },
});
