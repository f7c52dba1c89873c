/** The rack: phases as they change, searching, selecting, ordering, operations that run. */

import { follow } from "./live.js";
import { offer } from "./order.js";
import { localize, moment, role, setText, throttled } from "./page.js";
import { offerCancel, showProgress, titleOf } from "./progress.js";
import { FAMILY, matcher } from "./search.js";
import { Selection } from "./select.js";

/** @type {Map<string, {cell: HTMLElement, state: HTMLElement, plug: HTMLElement, place: string}>} */
const ports = new Map();
/** Phases of the operator's nodes. @type {Map<string, string>} */
const phases = new Map();
const stuck = new Set();
document.querySelectorAll(".port[data-id]").forEach((cell) => {
  const plug = cell.querySelector(".plug");
  ports.set(cell.dataset.id, { cell, plug, state: cell.querySelector(".state"), place: plug.title.split(":")[0] });
  phases.set(cell.dataset.id, cell.dataset.phase);
  if ("stuck" in cell.dataset) stuck.add(cell.dataset.id);
});

// What changes

/** @param {import("./feed.js").Standing[]} changed */
function nodesChanged(changed) {
  changed.forEach((node) => (node.known ? showNode(node) : strangerSeen(node)));
  showCounts();
  if (search.value.trim()) applySearch();
}

function showNode(node) {
  const port = ports.get(node.id);
  if (!port) {
    configurationChanged();
    return;
  }
  if (port.cell.dataset.phase !== node.phase) {
    port.cell.dataset.phase = node.phase;
    setText(port.state, node.phase);
    phases.set(node.id, node.phase);
  }
  showFault(port, node);
}

function showFault({ cell, plug, place }, node) {
  const title = node.stuck ? `${place}: ${node.sentence}` : place;
  if (plug.title !== title) plug.title = title;
  if (node.stuck === stuck.has(node.id)) return;
  cell.toggleAttribute("data-stuck", node.stuck);
  plug.querySelector(".mark")?.remove();
  if (node.stuck) {
    stuck.add(node.id);
    plug.append(markTemplate.content.cloneNode(true));
  } else {
    stuck.delete(node.id);
  }
}

const markTemplate = document.getElementById("mark-template");

function showCounts() {
  const counts = {};
  phases.forEach((phase) => { counts[phase] = (counts[phase] ?? 0) + 1; });
  const families = { attention: stuck.size };
  Object.entries(FAMILY).forEach(([phase, family]) => { families[family] = (families[family] ?? 0) + (counts[phase] ?? 0); });
  document.querySelectorAll(".legend li").forEach((item) => {
    const count = families[item.dataset.family];
    setText(item.querySelector(".count"), String(count));
    item.classList.toggle("none", !count);
    const split = item.querySelector(".split");
    const names = (split.dataset.phases ?? "").split(" ").filter((name) => counts[name]);
    setText(split, names.length > 1 ? names.map((name) => `${counts[name]} ${name}`).join(", ") : "");
  });
}

/** A node that this page does not have: the files were read again. */
const configurationChanged = throttled(5000, () => {
  if (!selection?.chosen.length && !document.querySelector("dialog[open]")) location.reload();
});

const strangers = document.getElementById("strangers");
const fetchStrangers = throttled(2000, async () => {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("strangers");
  localize(fresh);
  strangers.replaceChildren(...fresh.childNodes);
  strangers.hidden = fresh.hidden;
});

function strangerSeen(node) {
  const row = strangers.querySelector(`tr[data-id="${CSS.escape(node.id)}"]`);
  if (!row) fetchStrangers();
}

// Searching

const search = document.getElementById("q");
const matching = document.getElementById("matching");

function applySearch() {
  const fits = matcher(search.value);
  let count = 0;
  document.querySelectorAll(".port, #strangers tr[data-id]").forEach((cell) => {
    const match = fits(cell);
    if (match && cell.dataset.id) count += 1;
    if (("dim" in cell.dataset) === match) cell.toggleAttribute("data-dim", !match);
  });
  setText(matching, search.value.trim() ? `${count} of ${phases.size} match` : "");
}

function searchFor(words) {
  search.value = words;
  applySearch();
  const address = words.trim() ? `/?q=${encodeURIComponent(words.trim())}` : "/";
  history.replaceState(null, "", address);
}

search.addEventListener("input", throttled(100, () => searchFor(search.value)));
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  searchFor(search.value);
});
document.querySelectorAll("[data-search]").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  searchFor(search.value === link.dataset.search ? "" : link.dataset.search);
}));

// Selecting and ordering

const bar = document.getElementById("actions");
let selection = null;
if (role === "operator" && bar) {
  const selected = document.getElementById("selected");
  const orders = bar.querySelectorAll("[data-action]");
  const none = document.getElementById("select-none");
  bar.hidden = false;
  selection = new Selection([...document.querySelectorAll(".port input")], (count) => {
    setText(selected, count ? `${count} selected` : "None selected");
    [...orders, none].forEach((button) => { button.disabled = !count; });
  });
  document.getElementById("select-matching").addEventListener("click", () =>
    selection.set(selection.boxes.filter((box) => {
      const cell = box.closest(".port");
      return cell.dataset.id && !("dim" in cell.dataset);
    }), true));
  none.addEventListener("click", () => selection.set(selection.boxes, false));
  document.querySelectorAll("button.whole").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => selection.toggleWhole(button.closest(".plate")));
  });
  orders.forEach((button) => button.addEventListener("click", () => offer(button.dataset.action, selection.words())));
  document.addEventListener("ordered", () => selection.set(selection.boxes, false));
}

// Operations that run

const running = document.getElementById("running");
const shownOperations = new Map();
running.querySelectorAll("[data-operation]").forEach((article) => offerCancel(article, article.dataset.operation));

/** @param {import("./feed.js").Operation[]} changed */
function operationsChanged(changed) {
  changed.forEach((operation) => {
    shownOperations.set(operation.id, operation);
    const article = running.querySelector(`[data-operation="${CSS.escape(operation.id)}"]`) ?? begin(operation);
    if (article) showProgress(article, operation);
  });
}

function begin(operation) {
  if (operation.final) return null;
  const article = document.getElementById("operation-template").content.firstElementChild.cloneNode(true);
  article.dataset.operation = operation.id;
  const link = article.querySelector("h2 a");
  link.href = `/operations/${operation.id}`;
  link.textContent = titleOf(operation);
  const ordered = article.querySelector(".ordered");
  ordered.append(operation.who ? ` · ordered by ${operation.who} · ` : " · ", moment(operation.created));
  offerCancel(article, operation.id);
  running.prepend(article);
  return article;
}

setInterval(() => operationsChanged([...shownOperations.values()].filter((each) => !each.final)), 1000);

follow({ nodes: nodesChanged, operations: operationsChanged, again: () => fetchStrangers() });
