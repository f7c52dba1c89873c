/** What every page needs: the reader's own time, questions to the API, short messages, parts that are fetched anew. */

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit" });
const TOAST_MS = 8000;

export const role = document.querySelector('meta[name="role"]')?.content ?? "viewer";

/** @param {Date} date @returns {string} the time of day, with the day when it is another one than today */
export function when(date) {
  const day = DAY.format(date);
  return day === DAY.format(new Date()) ? CLOCK.format(date) : `${day} ${CLOCK.format(date)}`;
}

/** Show the moments below an element in the reader's own time. @param {ParentNode} root */
export function localize(root) {
  root.querySelectorAll("time[datetime]").forEach((shown) => {
    shown.title = shown.title || shown.textContent;
    shown.textContent = when(new Date(shown.dateTime));
  });
}

/** A `time` element. @param {number} seconds since 1970 */
export function moment(seconds) {
  const shown = document.createElement("time");
  shown.dateTime = new Date(seconds * 1000).toISOString();
  shown.textContent = when(new Date(seconds * 1000));
  return shown;
}

/** @param {number} seconds @returns {string} as the manager's pages say it: `0.4 s`, `3 min 5 s`, `2 h 10 min` */
export function duration(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [length, name, smaller, smallName] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole >= length) {
      const rest = Math.floor((whole % length) / smaller);
      return `${Math.floor(whole / length)} ${name}${rest ? ` ${rest} ${smallName}` : ""}`;
    }
  }
  return `${whole} s`;
}

/** @param {number} count @param {string} one */
export function counted(count, one) {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}

/** An element with texts and elements in it. @returns {HTMLElement} */
export function make(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...inside);
  return made;
}

/** Set a text only when it is another one. */
export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Why the API refused. */
export class Refused extends Error {
  /** @param {string} message @param {string} hint */
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** Ask the API to do something. @returns {Promise<any>} @throws {Refused} */
export async function post(path, body) {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": token },
      body: JSON.stringify(body) });
  } catch {
    throw new Refused("The manager does not answer.", "Nothing is known of what became of this; look at the operations.");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(told.error?.message ?? `The manager said ${answer.status}.`, told.error?.hint ?? "");
  return told;
}

/** What the API tells. @returns {Promise<any>} @throws {Refused} */
export async function get(path) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" } });
  } catch {
    throw new Refused("The manager does not answer.", "");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(told.error?.message ?? `The manager said ${answer.status}.`, told.error?.hint ?? "");
  return told;
}

/** A short message in the corner. @param {string} kind good, warning, bad or note */
export function toast(kind, ...inside) {
  const shown = make("div", { class: `notice ${kind}` }, make("p", {}, ...inside));
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

/** At most one call in so many milliseconds, the last one always. */
export function throttled(milliseconds, work) {
  let timer = 0;
  let last = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      last = Date.now();
      work();
    }, Math.max(0, last + milliseconds - Date.now()));
  };
}

const shownParts = new Map();

/** Fetch this page again and replace the parts (`id="part-..."`) that are different now. */
export async function refreshParts() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch {
    return;
  }
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  fresh.querySelectorAll('[id^="part-"]').forEach((part) => {
    const old = document.getElementById(part.id);
    const html = part.outerHTML;
    if (!old || shownParts.get(part.id) === html) return;
    shownParts.set(part.id, html);
    const focused = placeOf(old, document.activeElement);
    localize(part);
    old.replaceWith(part);
    if (focused >= 0) part.querySelectorAll("a, button, summary")[focused]?.focus();
    document.dispatchEvent(new CustomEvent("part", { detail: part }));
  });
}

function placeOf(part, element) {
  return part.contains(element) ? [...part.querySelectorAll("a, button, summary")].indexOf(element) : -1;
}

localize(document);
