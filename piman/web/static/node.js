/** A node: its page is fetched again when something happens to it. */

import { follow } from "./live.js";
import { offer } from "./order.js";
import { refreshParts, throttled } from "./page.js";

const id = document.getElementById("part-head").dataset.node;
const GOING_ON_MS = 5000;
/** Readings are no events: their charts are asked for so often. */
const CHARTS_MS = 30_000;

function offerActions(root) {
  const actions = root.querySelector(".node-actions");
  if (!actions) return;
  actions.hidden = false;
  actions.querySelectorAll("button").forEach((button) =>
    button.addEventListener("click", () => offer(button.dataset.action, [id])));
}

const refresh = throttled(1000, refreshParts);
const concerns = (changed) => changed.some((each) => each.id === id);

offerActions(document);
document.addEventListener("part", (event) => offerActions(event.detail));
document.addEventListener("ordered", refresh);
setInterval(() => {
  if (document.querySelector("[data-going-on]") && !document.hidden) refresh();
}, GOING_ON_MS);
setInterval(() => {
  if (document.getElementById("part-readings") && !document.hidden) refresh();
}, CHARTS_MS);
follow({
  nodes: (changed) => { if (concerns(changed)) refresh(); },
  events: (happened) => { if (happened.some((each) => each.node === id)) refresh(); },
  again: refresh,
});
