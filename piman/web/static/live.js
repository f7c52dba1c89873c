/**
 * What a page hears of the manager: from the SharedWorker, or from a stream of its own where there is none.
 *
 * Changes are applied in animation frames, a hidden page keeps the latest of each thing only.
 *
 * @typedef {import("./feed.js").Batch} Batch
 */

import { Feed } from "./feed.js";

const WORDS = { live: "live", waiting: "connecting…", lost: "not connected" };
const MOST_EVENTS = 500;
/** Nodes that are applied in one frame. */
const AT_ONCE = 200;

/**
 * Hear of changes.
 *
 * @param {{nodes?: (changed: Array) => void, operations?: (changed: Array) => void, events?: (happened: Array) => void,
 *   again?: () => void}} hears `again` is called when the stream was away: what was missed must be asked for
 */
export function follow(hears) {
  const waiting = { nodes: new Map(), operations: new Map(), events: [], again: false };
  let frame = 0;

  const apply = () => {
    frame = 0;
    if (waiting.again) {
      waiting.again = false;
      hears.again?.();
    }
    const nodes = [...waiting.nodes.values()].slice(0, AT_ONCE);
    nodes.forEach((node) => waiting.nodes.delete(node.id));
    const operations = [...waiting.operations.values()];
    waiting.operations.clear();
    const events = waiting.events.splice(0);
    if (nodes.length) hears.nodes?.(nodes);
    if (operations.length) hears.operations?.(operations);
    if (events.length) hears.events?.(events);
    if (waiting.nodes.size) frame = requestAnimationFrame(apply);
  };

  /** @param {Batch} batch */
  const take = (batch) => {
    show(batch.state);
    waiting.again ||= batch.again;
    if (hears.nodes) batch.nodes.forEach((each) => waiting.nodes.set(each.id, each));
    if (hears.operations) batch.operations.forEach((each) => waiting.operations.set(each.id, each));
    if (hears.events) waiting.events = [...waiting.events, ...batch.events].slice(-MOST_EVENTS);
    frame ||= requestAnimationFrame(apply);
  };

  show("waiting");
  connect(take);
}

function connect(take) {
  if (typeof SharedWorker === "undefined") {
    new Feed(take).open();
    return;
  }
  const worker = new SharedWorker("/static/shared-feed.js", { type: "module", name: "piman" });
  worker.onerror = () => new Feed(take).open();
  worker.port.onmessage = (message) => take(message.data);
  addEventListener("pagehide", () => worker.port.postMessage("leave"), { once: true });
  addEventListener("pageshow", (event) => { if (event.persisted) connect(take); }, { once: true });
}

/** Say honestly whether what is seen is live. */
function show(state) {
  const shown = document.getElementById("connection");
  if (!shown || shown.dataset.state === state) return;
  shown.dataset.state = state;
  shown.querySelector(".words").textContent = WORDS[state];
}
