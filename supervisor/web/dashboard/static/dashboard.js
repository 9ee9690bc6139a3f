// Starts the parts of the dashboard. Every page works without them.
import { drawCharts } from "./chart.js";
import { follow } from "./follow.js";
import { listen } from "./keys.js";
import { complete, showViews } from "./search.js";
import { showTimes } from "./times.js";

function dress() {
  showTimes();
  drawCharts();
}

dress();
complete();
showViews();
listen();
follow(dress);

document.addEventListener("submit", (event) => {
  const ask = event.target.dataset?.ask;
  if (ask && !window.confirm(ask)) event.preventDefault();
});
