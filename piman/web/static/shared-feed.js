/** The SharedWorker: one stream of the manager for all tabs of a browser. */

import { Feed } from "./feed.js";

/** Without a tab for so long the stream is closed: going from page to page keeps it. */
const LINGER_MS = 5000;

/** @type {Set<MessagePort>} */
const ports = new Set();
const feed = new Feed((batch) => ports.forEach((port) => port.postMessage(batch)));
let isOpen = false;
let leaving;

self.onconnect = (event) => {
  const port = event.ports[0];
  clearTimeout(leaving);
  ports.add(port);
  port.onmessage = () => leave(port);
  if (isOpen) port.postMessage(feed.whole());
  else feed.open();
  isOpen = true;
};

function leave(port) {
  ports.delete(port);
  if (ports.size) return;
  clearTimeout(leaving);
  leaving = setTimeout(() => {
    feed.forget();
    isOpen = false;
  }, LINGER_MS);
}
