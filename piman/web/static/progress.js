/** Shows how far an operation is: the bar, the sums, the time that remains, and what is in trouble. */

import { remainingSeconds } from "./estimate.js";
import { counted, duration, make, post, setText, toast } from "./page.js";

const PARTS = ["done", "failed", "cancelled", "busy", "waiting"];
const MOST_TROUBLE = 5;
const TITLES = { restart: "Restart", reinstall: "Reinstall", "power-on": "Power on", "power-off": "Power off" };

/** @param {import("./feed.js").Operation} operation */
export function titleOf(operation) {
  return `${TITLES[operation.action]} of ${counted(total(operation), "target")}`;
}

function total(operation) {
  return Object.values(operation.counts).reduce((sum, count) => sum + count, 0);
}

/** @param {HTMLElement} root what holds .bar, .sums, .left and perhaps .trouble-list @param {import("./feed.js").Operation} operation */
export function showProgress(root, operation) {
  const counts = Object.fromEntries(PARTS.map((name) => [name, operation.counts[name] ?? 0]));
  const all = total(operation);
  counts.busy = all - PARTS.reduce((sum, name) => sum + counts[name], 0);
  showBar(root.querySelector("svg.bar"), counts, all);
  showSums(root.querySelector(".sums"), counts, all);
  setText(root.querySelector(".left"), timeLeft(operation));
  showTrouble(root.querySelector(".trouble-list"), operation);
  const cancel = root.querySelector("button.cancel");
  if (cancel) cancel.hidden = operation.final || Boolean(operation.cancelled_by);
}

function showBar(bar, counts, all) {
  bar.setAttribute("viewBox", `0 0 ${Math.max(all, 1)} 1`);
  let start = 0;
  PARTS.forEach((name) => {
    const part = bar.querySelector(`.part-${name}`);
    part.setAttribute("x", start);
    part.setAttribute("width", counts[name]);
    start += counts[name];
  });
}

function showSums(shown, counts, all) {
  const over = counts.done + counts.failed + counts.cancelled;
  const text = `${over} of ${all} over`;
  const failed = counts.failed ? `${counts.failed} failed` : "";
  const key = `${text} ${failed} ${counts.cancelled}`;
  if (shown.dataset.key === key) return;
  shown.dataset.key = key;
  shown.replaceChildren(text);
  if (failed) shown.append(", ", make("strong", { class: "failed" }, failed));
  if (counts.cancelled) shown.append(`, ${counts.cancelled} cancelled`);
}

function timeLeft(operation) {
  if (operation.final) return `took ${duration(operation.finished - operation.created)}`;
  const left = remainingSeconds(operation.reports.filter(Boolean), operation.at_most, Date.now() / 1000);
  return left === null ? "" : `about ${duration(left)} left`;
}

function showTrouble(list, operation) {
  if (!list) return;
  const trouble = operation.reports.filter((each) => each && each.reason && each.step !== "done");
  const key = trouble.map((each) => `${each.index} ${each.reason}`).join("\n");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...trouble.slice(0, MOST_TROUBLE).map((each) =>
    make("li", {}, make("strong", {}, each.target.name), `: ${each.reason} ${each.remedy}`)));
  const more = trouble.length - MOST_TROUBLE;
  if (more > 0) list.append(make("li", {}, make("a", { href: `/operations/${operation.id}` }, `and ${more} more`)));
}

/** Make the cancel buttons below an element work. @param {HTMLElement} root @param {string} id */
export function offerCancel(root, id) {
  const button = root.querySelector("button.cancel");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post(`/api/v1/operations/${id}/cancel`, {});
      toast("note", "Nothing more of it is begun; what is under way is brought to its end.");
    } catch (refused) {
      toast("bad", `${refused.message} ${refused.hint ?? ""}`);
      button.disabled = false;
    }
  });
}
