/** One operation: its targets, one by one, as they go on. */

import { follow } from "./live.js";
import { duration, make, setText, throttled } from "./page.js";
import { offerCancel, showProgress } from "./progress.js";

const card = document.querySelector(".operation");
const id = card.dataset.operation;
const rows = new Map([...document.querySelectorAll("tr[data-index]")].map((row) => [Number(row.dataset.index), row]));
const shown = new Map();
let latest = null;

function showReport(row, report) {
  row.dataset.started = report.started;
  row.dataset.finished = report.finished;
  if (row.dataset.step !== report.step) {
    row.dataset.step = report.step;
    const badge = row.querySelector(".step .badge");
    badge.dataset.step = report.step;
    badge.textContent = report.step;
  }
  showTime(row);
  showStages(row.querySelector(".steps"), report);
  const why = row.querySelector(".why");
  if (why.textContent.trim() !== `${report.reason} ${report.remedy}`.trim()) {
    why.replaceChildren(report.reason, " ", make("span", { class: "muted" }, report.remedy));
  }
}

function showTime(row) {
  const started = Number(row.dataset.started);
  const end = Number(row.dataset.finished) || Date.now() / 1000;
  setText(row.querySelector(".time"), started ? duration(end - started) : "");
}

function showStages(list, report) {
  const ends = [...report.stages.slice(1).map((each) => each.time), report.finished || null];
  list.replaceChildren(...report.stages.filter((each) => each.phase !== "up").map((stage, place) => {
    const spent = ends[place] ? ` ${duration(ends[place] - stage.time)}` : "";
    return make("li", {}, make("span", { class: "shape", "data-phase": stage.phase }), ` ${stage.phase}`,
      make("span", { class: "muted" }, spent));
  }));
}

/** @param {import("./feed.js").Operation[]} changed */
function operationsChanged(changed) {
  const operation = changed.find((each) => each.id === id);
  if (!operation) return;
  latest = operation;
  showProgress(card, operation);
  operation.reports.forEach((report) => {
    if (!report || shown.get(report.index) === JSON.stringify(report)) return;
    shown.set(report.index, JSON.stringify(report));
    const row = rows.get(report.index);
    if (row) showReport(row, report);
  });
  const cancel = document.querySelector(".head button.cancel");
  if (cancel) cancel.hidden = operation.final || Boolean(operation.cancelled_by);
  if (operation.cancelled_by) setText(card.querySelector(".cancelled-by"), `, cancelled by ${operation.cancelled_by}`);
}

offerCancel(document, id);
const reload = throttled(1000, () => { if (!latest?.final) location.reload(); });
setInterval(() => rows.forEach((row) => { if (Number(row.dataset.started) && !Number(row.dataset.finished)) showTime(row); }), 1000);
follow({ operations: operationsChanged, again: reload });
