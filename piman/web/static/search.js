/** Which ports match what is searched for.  The same as matches in piman/web/pages/rack.py. */

/** @type {Object<string, string>} */
export const FAMILY = Object.freeze({
  up: "up", starting: "system", greeting: "system", booting: "system", formatting: "install", imaging: "install",
  powered: "firmware", offered: "firmware", leased: "firmware", loading: "firmware", silent: "silent", stuck: "stuck",
  off: "off", unknown: "unknown",
});

/** @param {string} words @returns {(cell: HTMLElement) => boolean} */
export function matcher(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return (cell) => wanted.every((word) => fits(word, cell.dataset));
}

function fits(word, data) {
  if (word === "is:stuck") return data.stuck !== undefined || data.phase === "stuck";
  if (word.startsWith("is:")) return [data.phase, FAMILY[data.phase], data.kind].includes(word.slice(3));
  return data.find.includes(word);
}
