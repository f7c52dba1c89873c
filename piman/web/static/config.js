// The form of piman.yaml: what the fields say becomes changes, what the loader finds wrong stands beside the field.

import { Editor } from "./editing.js";

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const known = (place) => (place.dataset.field ? JSON.parse(place.dataset.field) : null);

// What a field says: text, a list, a mapping; undefined: nothing.
function said(place, field) {
  if (field.control === "list") {
    const found = [...place.querySelectorAll(":scope > .items > .item input")].map((input) => input.value.trim()).filter(Boolean);
    return found.length ? found : undefined;
  }
  if (field.control === "mapping") {
    const found = {};
    for (const item of place.querySelectorAll(":scope > .items > .item")) {
      const key = item.querySelector(".pair-key").value.trim();
      const value = item.querySelector(".pair-value").value.trim();
      if (key || value) found[key] = value;
    }
    return Object.keys(found).length ? found : undefined;
  }
  if (field.control === "as-text") return field.value ?? undefined;
  const value = place.querySelector("input, select").value;
  if (field.control === "secret" && value === "" && field.state === "written") return field.value;
  return value === "" ? undefined : value;
}

// What it said: blanks in it count as nothing said.
function before(field) {
  if (field.value === null) return undefined;
  if (Array.isArray(field.value)) {
    const found = field.value.filter((each) => each !== null);
    return found.length ? found : undefined;
  }
  if (typeof field.value === "object") {
    const found = Object.fromEntries(Object.entries(field.value).map(([key, value]) => [key, value ?? ""]));
    return Object.keys(found).length ? found : undefined;
  }
  return field.value;
}

const hasBlanks = (field) =>
  field.state === "blank" || (Array.isArray(field.value) && field.value.includes(null));

class ConfigForm {
  constructor() {
    this.root = document.getElementById("view-form");
    this.removed = new Set();
    this.dropping = false;
  }

  isThere() {
    return this.root.querySelector(".field") !== null;
  }

  listen(changed) {
    this.changed = changed;
    this.root.addEventListener("input", () => this.touch());
    this.root.addEventListener("change", () => this.touch());
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.matches("[data-add]")) this.addItem(button.closest(".field"));
      else if (button.matches("[data-remove]")) this.removeItem(button.closest(".item"));
      else if (button.matches("[data-add-element]")) this.addElement(button.closest(".repeated"));
      else if (button.matches("[data-remove-element]")) this.removeElement(button.closest(".element"));
    });
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches(".items input")) this.addItem(event.target.closest(".field"));
    });
  }

  touch() {
    for (const place of this.fields(this.root)) {
      const field = known(place);
      place.classList.toggle("changed", !same(said(place, field), before(field)));
    }
    this.changed();
  }

  fields(place) {
    return [...place.querySelectorAll(".field[data-field]")];
  }

  addItem(place) {
    const item = place.querySelector(":scope > template").content.cloneNode(true);
    for (const button of item.querySelectorAll("button")) button.hidden = false;
    const list = place.querySelector(":scope > .items");
    list.append(item);
    list.lastElementChild.querySelector("input").focus();
  }

  removeItem(item) {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    const place = item.closest(".field");
    item.remove();
    (next?.querySelector("input") ?? place.querySelector("[data-add]")).focus();
    this.touch();
  }

  addElement(section) {
    const made = section.querySelector(":scope > template").content.cloneNode(true);
    for (const button of made.querySelectorAll("button")) button.hidden = false;
    const place = section.querySelector(".elements");
    const element = made.querySelector(".element");
    element.dataset.added = "yes";
    const number = (this.number = (this.number ?? 0) + 1);
    for (const each of element.querySelectorAll("[id]")) each.id = `new-${number}-${each.id}`;
    for (const each of element.querySelectorAll("label[for]")) each.htmlFor = `new-${number}-${each.htmlFor}`;
    place.append(made);
    element.querySelector("input").focus();
    this.touch();
  }

  removeElement(element) {
    const section = element.closest(".repeated");
    if (element.dataset.added) element.remove();
    else {
      this.removed.add(element);
      element.hidden = true;
    }
    section.querySelector("[data-add-element]").focus();
    this.touch();
  }

  // Elements of a list of sections that stay, in the order in which the file will have them.
  elements(section) {
    return [...section.querySelectorAll(".element")].filter((each) => !this.removed.has(each));
  }

  changes() {
    const found = [];
    for (const place of this.fields(this.root)) {
      const element = place.closest(".element");
      if (element && (element.dataset.added || this.removed.has(element))) continue;
      const field = known(place);
      if (field.control === "as-text") continue;
      const now = said(place, field);
      const isDropped = this.dropping && hasBlanks(field) && now === before(field);
      if (same(now, before(field)) && !isDropped && !(this.dropping && hasBlanks(field))) continue;
      if (now === undefined) {
        if (field.state !== "unset") found.push({ what: "unset", path: field.path });
      } else found.push({ what: "set", path: field.path, value: now });
    }
    for (const section of this.root.querySelectorAll(".repeated")) {
      const path = JSON.parse(section.dataset.path);
      [...section.querySelectorAll(".element:not([data-added])")].forEach((element, index) => {
        if (this.removed.has(element)) found.push({ what: "unset", path: [...path, index] });
      });
      for (const element of section.querySelectorAll(".element[data-added]")) {
        found.push({ what: "add", path, value: this.value(element, path.length + 1) });
      }
    }
    return found;
  }

  // What a new element says, section by section.
  value(element, depth) {
    const found = {};
    for (const place of this.fields(element)) {
      const field = known(place);
      const now = said(place, field);
      if (now === undefined) continue;
      const steps = field.path.slice(depth);
      let inner = found;
      for (const step of steps.slice(0, -1)) inner = inner[step] ??= {};
      inner[steps.at(-1)] = now;
    }
    return found;
  }

  blanks() {
    if (this.dropping) return 0;
    return this.fields(this.root).filter((place) => {
      const field = known(place);
      return hasBlanks(field) && !field.required && same(said(place, field), before(field));
    }).length;
  }

  dropBlanks() {
    this.dropping = true;
    this.touch();
  }

  // The field that a key of the loader belongs to, as the file would be.
  keyed() {
    const found = new Map();
    for (const place of this.fields(this.root)) {
      if (!place.closest(".element")) found.set(known(place).key, place);
    }
    for (const section of this.root.querySelectorAll(".repeated")) {
      const path = JSON.parse(section.dataset.path);
      const head = path.join(".");
      this.elements(section).forEach((element, index) => {
        found.set(`${head}[${index}]`, element);
        for (const place of this.fields(element)) {
          const rest = known(place).path.slice(path.length + 1).join(".");
          found.set(`${head}[${index}].${rest}`, place);
        }
      });
    }
    return found;
  }

  show(problems) {
    for (const place of this.root.querySelectorAll(".field")) {
      const error = place.querySelector(":scope > .error");
      if (error) error.textContent = "";
      for (const input of place.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    }
    const keyed = this.keyed();
    const rest = [];
    for (const problem of problems) {
      let key = problem.file ? "" : problem.key;
      let tail = "";
      while (key && !keyed.has(key)) {
        const cut = Math.max(key.lastIndexOf("."), key.lastIndexOf("["));
        tail = key.slice(Math.max(cut, 0)) + tail;
        key = cut > 0 ? key.slice(0, cut) : "";
      }
      const place = keyed.get(key);
      if (!place || !this.mark(place, tail, problem)) rest.push(problem);
    }
    return rest;
  }

  mark(place, tail, problem) {
    if (place.matches(".element")) {
      const missing = this.fields(place).find((each) => known(each).path.at(-1) === tail.replace(/^\./, "").split(/[.[]/)[0]);
      if (!missing) return false;
      place = missing;
    }
    const error = place.querySelector(":scope > .error");
    const index = /^\[(\d+)\]/.exec(tail)?.[1];
    const name = /^\.([^.[]+)/.exec(tail)?.[1];
    const items = [...place.querySelectorAll(":scope > .items > .item")];
    let input = place.querySelector("input, select, button");
    let prefix = "";
    if (index !== undefined) {
      const filled = items.filter((item) => item.querySelector("input").value.trim());
      const isAsWritten = items.length > 0 && filled.length < items.length && same(said(place, known(place)), before(known(place)));
      input = (isAsWritten ? items : filled)[Number(index)]?.querySelector("input") ?? input;
      prefix = `${Number(index) + 1}. `;
    } else if (name) {
      const item = items.find((each) => each.querySelector(".pair-key")?.value.trim() === name);
      input = item?.querySelector(".pair-value") ?? input;
      prefix = `${name}: `;
    }
    error.textContent += `${error.textContent ? "; " : ""}${prefix}${problem.text}`;
    input?.setAttribute("aria-invalid", "true");
    if (error.id) input?.setAttribute("aria-describedby", error.id);
    for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    return true;
  }

  reset() {
    this.removed.clear();
    this.changes = () => [];
  }
}

new Editor(new ConfigForm());
