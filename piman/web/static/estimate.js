/**
 * How long an operation still takes, as the targets that are done tell; null: it cannot be told.
 * The same as remaining_seconds in piman/web/pages/orders.py; tests/estimates.json holds the cases for both.
 */

const LEAST_FINISHED = 3;
const LATE = 1.5;

/** @param {import("./feed.js").Report[]} reports @param {number} atMost @param {number} now @returns {number|null} */
export function remainingSeconds(reports, atMost, now) {
  const finished = reports.filter((each) => each.step === "done" && each.started);
  const done = finished.map((each) => each.finished - each.started);
  const waiting = reports.filter((each) => each.step === "waiting").length;
  const ages = reports.filter((each) => !each.final && each.step !== "waiting").map((each) => now - each.started);
  if (done.length < LEAST_FINISHED || !(waiting || ages.length)) return null;
  const usual = median(done);
  if (ages.some((age) => age > usual * LATE)) return null;
  const ends = finished.map((each) => each.finished);
  const atThisRate = ((waiting + ages.length) * (Math.max(...ends) - Math.min(...ends))) / (ends.length - 1);
  const left = ages.map((age) => Math.max(0, usual - age));
  if (!waiting) return Math.max(...left, atThisRate);
  const width = Math.max(atMost, ages.length, 1);
  const mean = left.length ? left.reduce((sum, each) => sum + each, 0) / left.length : 0;
  return Math.max(atThisRate, mean + Math.ceil(waiting / width) * usual);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
