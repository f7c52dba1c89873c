/**
 * Selecting ports: a click, a range with shift, a whole switch, all that match; arrows and space on the keyboard.
 */

const ROWS = 2;

export class Selection {
  /**
   * @param {HTMLInputElement[]} boxes in the order of the ports
   * @param {(count: number) => void} changed
   */
  constructor(boxes, changed) {
    this.boxes = boxes;
    this._changed = changed;
    this._anchor = null;
    this._blocks = new Map();
    boxes.forEach((box) => {
      box.disabled = false;
      const ports = box.closest(".plate");
      if (!this._blocks.has(ports)) this._blocks.set(ports, []);
      this._blocks.get(ports).push(box);
      box.tabIndex = this._blocks.get(ports).length === 1 ? 0 : -1;
    });
    document.addEventListener("click", (event) => this._click(event));
    document.addEventListener("keydown", (event) => this._key(event));
    this._tell();
  }

  /** @returns {HTMLInputElement[]} */
  get chosen() {
    return this.boxes.filter((box) => box.checked);
  }

  /** @param {Iterable<HTMLInputElement>} boxes @param {boolean} checked */
  set(boxes, checked) {
    for (const box of boxes) box.checked = checked;
    this._tell();
  }

  /** Select a switch; when all of it is selected, nothing of it. @param {HTMLElement} plate */
  toggleWhole(plate) {
    const boxes = this._blocks.get(plate) ?? [];
    this.set(boxes, !boxes.every((box) => box.checked));
  }

  /**
   * What names the selected targets: nodes by their MAC, ports without one by switch and number.
   *
   * @returns {string[]}
   */
  words() {
    const cells = this.chosen.map((box) => box.closest(".port").dataset);
    const nodes = cells.filter((cell) => cell.id).map((cell) => cell.id);
    const ports = cells.filter((cell) => !cell.id).flatMap((cell) => [cell.switch, cell.port]);
    return [...nodes, ...ports];
  }

  _click(event) {
    const cell = event.target.closest?.(".port");
    const box = cell?.querySelector("input");
    if (!box) return;
    const isBox = event.target === box;
    if (event.shiftKey) {
      if (!isBox) event.preventDefault();
      this._range(box, isBox ? box.checked : true);
    }
    if (isBox || event.shiftKey) {
      this._anchor = box;
      this._focusable(box);
      this._tell();
    }
  }

  _range(box, checked) {
    const [from, to] = [this.boxes.indexOf(this._anchor ?? box), this.boxes.indexOf(box)].sort((a, b) => a - b);
    this.boxes.slice(from, to + 1).forEach((each) => { each.checked = checked; });
  }

  _key(event) {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || !box.closest(".port")) return;
    const boxes = this._blocks.get(box.closest(".plate"));
    const place = boxes.indexOf(box);
    const steps = { ArrowRight: ROWS, ArrowLeft: -ROWS, ArrowDown: 1, ArrowUp: -1 };
    const goal = event.key === "Home" ? 0 : event.key === "End" ? boxes.length - 1 : place + (steps[event.key] ?? NaN);
    if (event.key === "Enter") box.closest(".port").querySelector("a")?.click();
    if (Number.isNaN(goal)) return;
    event.preventDefault();
    const next = boxes[Math.min(Math.max(goal, 0), boxes.length - 1)];
    if (event.shiftKey) this.set([next], true);
    this._focusable(next);
    next.focus();
    this._anchor = next;
  }

  /** One box of a switch is where Tab leads to. */
  _focusable(box) {
    this._blocks.get(box.closest(".plate")).forEach((each) => { each.tabIndex = each === box ? 0 : -1; });
  }

  _tell() {
    this._changed(this.chosen.length);
  }
}
