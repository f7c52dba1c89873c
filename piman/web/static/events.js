/** The list of events: new ones on top, those that the filters let through. */

import { follow } from "./live.js";
import { make, moment } from "./page.js";

const listing = document.getElementById("listing");
const rows = document.getElementById("event-rows");
const stored = new Set([...document.getElementById("kind").options].map((option) => option.value));
const wanted = {
  node: listing.dataset.node,
  kinds: listing.dataset.kinds.split(" ").filter(Boolean),
  text: listing.dataset.text.toLowerCase(),
};
const trouble = new Set(listing.dataset.trouble.split(" "));
const MOST_ROWS = 300;
const names = new Map();
let newest = Number(rows.firstElementChild?.dataset.event ?? 0);

function fits(event) {
  return event.id > newest && stored.has(event.kind)
    && (!wanted.node || event.node === wanted.node)
    && (!wanted.kinds.length || wanted.kinds.includes(event.kind))
    && `${event.text} ${event.kind} ${event.node ?? ""}`.toLowerCase().includes(wanted.text);
}

function row(event) {
  const node = event.node ? make("a", { href: `/nodes/${encodeURIComponent(event.node)}` }, names.get(event.node) ?? event.node) : "";
  const made = make("tr", { "data-event": event.id },
    make("td", { class: "nowrap" }, make("a", { href: `/events/${event.id}` }, moment(event.time))),
    make("td", {}, node),
    make("td", {}, make("span", { class: "kind" }, event.kind)),
    make("td", {}, event.text));
  if (trouble.has(event.kind)) made.className = "trouble";
  return made;
}

/** @param {import("./feed.js").RackEvent[]} happened oldest first */
function show(happened) {
  const fresh = happened.filter(fits);
  if (!fresh.length) return;
  newest = fresh[fresh.length - 1].id;
  document.getElementById("nothing")?.remove();
  rows.prepend(...fresh.reverse().map(row));
  while (rows.childElementCount > MOST_ROWS) rows.lastElementChild.remove();
}

async function catchUp() {
  const answer = await fetch(`/api/v1/events?after=${newest}&limit=1000`).catch(() => null);
  if (answer?.ok) show((await answer.json()).events);
}

if (listing.dataset.live) {
  follow({
    nodes: (changed) => changed.forEach((node) => names.set(node.id, node.name)),
    events: show,
    again: catchUp,
  });
  catchUp();
} else {
  follow({});
}
