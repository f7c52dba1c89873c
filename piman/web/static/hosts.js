// The rows of hosts.csv: what they say becomes changes, what the loader finds wrong stands below the row.

import { Editor } from "./editing.js";

const COLUMNS = ["mac", "address", "hostname"];

class HostsForm {
  constructor() {
    this.rows = document.getElementById("rows");
  }

  isThere() {
    return true;
  }

  listen(changed) {
    this.changed = changed;
    this.rows.addEventListener("input", () => this.changed());
    this.rows.addEventListener("click", (event) => {
      if (event.target.closest("[data-remove]")) this.remove(event.target.closest("tr.host"));
    });
    document.getElementById("add-row")?.addEventListener("click", () => this.add());
    document.getElementById("filter").addEventListener("input", (event) => this.filter(event.target.value));
    document.addEventListener("click", (event) => {
      const link = event.target.closest("[data-stranger]");
      if (!link) return;
      event.preventDefault();
      link.closest("li").remove();
      this.add(link.dataset.stranger);
    });
    const fresh = this.rows.querySelector("tr.new");
    fresh?.querySelector("[name=address]").focus();
  }

  hosts() {
    return [...this.rows.querySelectorAll("tr.host")];
  }

  columns(row) {
    return Object.fromEntries(COLUMNS.map((name) => [name, row.querySelector(`[name=${name}]`).value.trim()]));
  }

  add(mac = "") {
    const made = document.getElementById("empty-row").content.querySelector("tbody").cloneNode(true);
    for (const button of made.querySelectorAll("button")) button.hidden = false;
    const row = made.querySelector("tr.host");
    row.querySelector("[name=mac]").value = mac;
    this.rows.append(...made.children);
    const empty = document.getElementById("no-boards");
    if (empty) empty.hidden = true;
    row.querySelector(mac ? "[name=address]" : "[name=mac]").focus();
    row.scrollIntoView({ block: "center" });
    this.changed();
  }

  remove(row) {
    if (row.classList.contains("new")) {
      row.nextElementSibling.remove();
      row.remove();
    } else {
      const isRemoved = row.classList.toggle("removed");
      const button = row.querySelector("[data-remove]");
      button.textContent = isRemoved ? "Keep" : "✕";
      button.setAttribute("aria-label", isRemoved ? "Keep this board" : "Remove this board");
    }
    this.changed();
  }

  filter(text) {
    const wanted = text.trim().toLowerCase();
    for (const row of this.hosts()) {
      const isShown = !wanted || COLUMNS.some((name) => row.querySelector(`[name=${name}]`).value.toLowerCase().includes(wanted));
      row.hidden = !isShown;
      row.nextElementSibling.hidden = !isShown || !row.nextElementSibling.querySelector(".error").textContent;
    }
  }

  changes() {
    const found = [];
    for (const row of this.hosts()) {
      const now = this.columns(row);
      if (row.classList.contains("new")) {
        if (COLUMNS.some((name) => now[name])) found.push({ what: "add", columns: now });
        continue;
      }
      const change = { line: Number(row.dataset.line), was: row.dataset.text };
      if (row.classList.contains("removed")) found.push({ what: "remove", ...change });
      else {
        const columns = {};
        for (const name of COLUMNS) {
          const input = row.querySelector(`[name=${name}]`);
          if (now[name] !== input.defaultValue.trim()) columns[name] = now[name];
        }
        if (Object.keys(columns).length) found.push({ what: "set", ...change, columns });
      }
    }
    return found;
  }

  // Lines of the file as it would be, by row.
  lines(verdict) {
    const removed = this.hosts().filter((row) => row.classList.contains("removed")).map((row) => Number(row.dataset.line));
    const added = this.hosts().filter((row) => row.classList.contains("new") && COLUMNS.some((name) => this.columns(row)[name]));
    const found = new Map();
    for (const row of this.hosts()) {
      const line = Number(row.dataset.line);
      if (line && !removed.includes(line)) found.set(line - removed.filter((each) => each < line).length, row);
    }
    const total = verdict.rows.length;
    added.forEach((row, index) => found.set(total - added.length + 1 + index, row));
    return found;
  }

  show(problems, verdict) {
    for (const row of this.hosts()) {
      const below = row.nextElementSibling;
      below.hidden = true;
      below.querySelector(".error").textContent = "";
      for (const input of row.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    }
    const lines = this.lines(verdict);
    const rest = [];
    for (const problem of [...problems, ...verdict.warnings]) {
      const row = problem.line ? lines.get(problem.line) : undefined;
      if (!row) {
        if (problems.includes(problem)) rest.push(problem);
        continue;
      }
      const below = row.nextElementSibling;
      const error = below.querySelector(".error");
      error.textContent += `${error.textContent ? "; " : ""}${problem.text}`;
      below.hidden = row.hidden;
      const input = row.querySelector(`[name=${problem.key || "mac"}]`) ?? row.querySelector("input");
      input.setAttribute("aria-invalid", "true");
    }
    return rest;
  }

  reset() {
    this.changes = () => [];
  }
}

new Editor(new HostsForm());
