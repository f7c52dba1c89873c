// What /config and /hosts-csv share: what is typed is judged by the API, shown as a difference, applied with the version
// that it was made for.  Nothing that was typed is ever thrown away without being asked.

const TYPING_PAUSE = 350; // milliseconds
const LOOK_AGAIN = 15000; // milliseconds, for what others do

const element = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function showDiff(place, lines) {
  const kinds = { "+": "added", "-": "removed", "@": "where" };
  place.replaceChildren(
    ...lines.slice(2).map((line) => {
      const kind = kinds[line[0]] ?? "same";
      return make("span", { class: `line ${kind}` }, kind === "where" ? line : line.slice(1));
    }),
  );
}

const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

class Failed extends Error {
  constructor(status, body) {
    const error = body?.error ?? { message: `the manager answered with ${status}`, hint: "" };
    super(error.hint ? `${error.message}. ${error.hint}` : error.message);
    this.status = status;
    this.verdict = body?.verdict ?? null;
  }
}

async function ask(method, path, body, headers = {}, signal = undefined) {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  const sent = { accept: "application/json", "x-csrf-token": token, ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  const options = { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), signal };
  const response = await fetch(path, { ...options, credentials: "same-origin" });
  if (response.status === 304) return null;
  let found = null;
  try {
    found = await response.json();
  } catch {
    // told by its status
  }
  if (!response.ok) throw new Failed(response.status, found);
  return found;
}

// The text tab: numbers beside the lines, mistakes marked.

class TextTab {
  constructor(area, gutter) {
    this.area = area;
    this.gutter = gutter;
    this.marks = new Map();
    area.addEventListener("scroll", () => this.align());
    new ResizeObserver(() => this.align()).observe(area);
    this.draw();
  }

  draw() {
    const count = this.area.value.split("\n").length;
    if (this.gutter.childElementCount !== count) {
      this.gutter.replaceChildren(...Array.from({ length: count }, (_, index) => make("span", {}, String(index + 1))));
    }
    [...this.gutter.children].forEach((line, index) => {
      const mark = this.marks.get(index + 1);
      line.className = mark?.kind ?? "";
      line.title = mark?.text ?? "";
    });
    this.align();
  }

  align() {
    this.gutter.style.height = `${this.area.clientHeight}px`;
    this.gutter.scrollTop = this.area.scrollTop;
  }

  mark(problems, warnings) {
    this.marks.clear();
    for (const [kind, found] of [["warned", warnings], ["bad", problems]]) {
      for (const each of found) if (each.line && !each.file) this.marks.set(each.line, { kind, text: each.text });
    }
    this.draw();
  }

  goTo(line) {
    const lines = this.area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    this.area.focus();
    this.area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    const height = this.area.scrollHeight / lines.length;
    this.area.scrollTop = Math.max(0, (line - 6) * height);
    this.align();
  }
}

// A page.  `form` knows how the form of this file works:
//   changes() -> list of changes of the API; show(problems, verdict) marks fields and returns what belongs to none;
//   reset(); count() of what is changed; listen(changed).

export class Editor {
  constructor(form) {
    this.form = form;
    const place = element("document");
    this.kind = place.dataset.kind;
    this.name = place.dataset.name;
    this.path = `/api/v1/${this.kind}`;
    this.digest = place.dataset.digest;
    this.exists = Boolean(place.dataset.exists);
    this.area = element("text");
    this.base = this.area.defaultValue;
    this.text = new TextTab(this.area, element("gutter"));
    this.mode = "form";
    this.verdict = null;
    this.carried = this.base; // what the form's changes have made of the text
    this.told = "";
    this.begin();
  }

  begin() {
    document.documentElement.classList.add("scripted");
    for (const each of document.querySelectorAll(".plain-form")) each.hidden = true;
    for (const each of document.querySelectorAll("[data-add], [data-add-element], [data-remove], [data-remove-element], [data-to-text], #filter, #add-row")) each.hidden = false;
    element("tabs").hidden = false;
    element("bar").hidden = false;
    this.form.listen(() => this.changed());
    this.area.addEventListener("input", () => {
      this.text.draw();
      this.changed();
    });
    element("text-form").addEventListener("submit", (event) => event.preventDefault());
    element("tab-form").addEventListener("click", () => this.choose("form"));
    element("tab-text").addEventListener("click", () => this.choose("text"));
    element("tabs").addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      this.choose(this.mode === "form" ? "text" : "form");
      element(`tab-${this.mode}`).focus();
    });
    document.addEventListener("click", (event) => {
      if (event.target.closest("[data-to-text]")) this.choose("text");
      const line = event.target.closest("[data-go-to-line]");
      if (line) {
        event.preventDefault();
        this.choose("text");
        this.text.goTo(Number(line.dataset.goToLine));
      }
    });
    element("discard").addEventListener("click", () => this.discard());
    element("review").addEventListener("click", () => this.review());
    element("dialog-cancel").addEventListener("click", () => element("dialog").close());
    element("dialog-apply").addEventListener("click", () => this.apply());
    element("others-show").addEventListener("click", () => this.review());
    element("others-load").addEventListener("click", () => this.reload());
    element("drop-blanks")?.addEventListener("click", () => this.form.dropBlanks?.());
    window.addEventListener("beforeunload", (event) => {
      if (this.isDirty()) event.preventDefault();
    });
    setInterval(() => this.lookAgain(), LOOK_AGAIN);
    document.addEventListener("visibilitychange", () => document.hidden || this.lookAgain());
    this.choose(document.querySelector("#view-form .card") && this.form.isThere() ? "form" : "text", true);
    this.tellWhatWasApplied();
    if (this.isDirty() || !this.exists) this.judge();
    else this.text.mark(...this.initial());
    this.linkMistakes();
    this.state();
  }

  initial() {
    const read = (list) =>
      [...element(list).querySelectorAll(".line-number")].map((each) => ({ line: Number(each.textContent.slice(5)), text: each.parentElement.textContent }));
    return [read("problems-list"), read("warnings-list")];
  }

  choose(mode, isFirst = false) {
    if (mode === "form" && !this.form.isThere()) mode = "text";
    if (mode === "form" && this.mode === "text" && this.area.value !== this.carried) {
      this.say("Apply or discard the text first: the form shows the file without it.");
      return;
    }
    if (mode === "text" && this.mode === "form" && this.form.changes().length === 0) this.area.value = this.carried = this.base;
    this.mode = mode;
    element("view-form").hidden = mode !== "form";
    element("view-text").hidden = mode !== "text";
    for (const each of ["form", "text"]) {
      element(`tab-${each}`).setAttribute("aria-selected", String(each === mode));
      element(`tab-${each}`).tabIndex = each === mode ? 0 : -1;
    }
    if (mode === "text") this.text.draw();
    if (this.verdict) this.take(this.verdict, this.isText());
    if (!isFirst) this.state();
  }

  // What is proposed

  isText() {
    return this.area.value !== this.carried;
  }

  isDirty() {
    return this.isText() || this.form.changes().length > 0;
  }

  proposal() {
    if (this.isText()) return { text: this.area.value, base: this.base };
    return { changes: this.form.changes(), base: this.base };
  }

  changed() {
    this.say("");
    clearTimeout(this.waiting);
    this.verdict = null;
    this.state();
    this.waiting = setTimeout(() => this.judge(), TYPING_PAUSE);
  }

  async judge() {
    clearTimeout(this.waiting);
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const isText = this.isText();
    try {
      const verdict = await ask("POST", `${this.path}/validate`, this.proposal(), {}, asking.signal);
      if (asking !== this.asking) return null;
      this.take(verdict, isText);
      return verdict;
    } catch (reason) {
      if (reason.name === "AbortError") return null;
      this.say(reason instanceof Failed ? reason.message : "The manager does not answer; what you typed is still here.", true);
      return null;
    } finally {
      this.state();
    }
  }

  take(verdict, isText) {
    this.verdict = verdict;
    if (!isText) {
      this.area.value = this.carried = verdict.text.replaceAll("\r\n", "\n");
      this.text.draw();
    }
    this.text.mark(verdict.problems, verdict.warnings);
    const beside = isText ? verdict.problems : this.form.show(verdict.problems, verdict);
    const rest = this.mode === "text" ? verdict.problems : beside;
    this.list("problems", rest);
    element("problems-title").textContent = rest.length ? "Before this can be applied" : "Some fields are blank: fill them in below";
    this.list("warnings", verdict.warnings);
    element("warnings-count").textContent = verdict.warnings.length;
    const blanks = !isText && this.form.blanks?.() > 0 && verdict.problems.some((each) => each.text.startsWith("found nothing"));
    element("drop-blanks-row").hidden = !blanks;
    if (blanks) element("problems").hidden = false;
    if (verdict.digest !== this.digest && verdict.others.length) this.tellOthers(verdict.last_change);
  }

  list(name, found) {
    element(name).hidden = found.length === 0;
    const items = found.map((each) => {
      const item = make("li");
      if (each.file) item.append(make("code", {}, each.file), " ");
      else if (each.line) item.append(make("a", { class: "line-number", href: "#text", "data-go-to-line": each.line }, `line ${each.line}`), " ");
      if (each.key) item.append(make("code", {}, each.key), ": ");
      item.append(each.text);
      return item;
    });
    element(`${name}-list`).replaceChildren(make("ul", { class: "mistakes" }, ...items));
  }

  linkMistakes() {
    for (const each of document.querySelectorAll("#problems-list span.line-number, #warnings-list span.line-number")) {
      const line = Number(each.textContent.slice(5));
      each.replaceWith(make("a", { class: "line-number", href: "#text", "data-go-to-line": line }, each.textContent));
    }
  }

  // The bar

  say(text, isBad = false) {
    this.told = text;
    element("state").classList.toggle("bad", isBad);
    if (text) element("state").textContent = text;
    else this.state();
  }

  state() {
    const isDirty = this.isDirty();
    const problems = this.verdict?.problems.length ?? 0;
    element("discard").disabled = !isDirty;
    element("review").disabled = !isDirty || problems > 0;
    if (this.told) return;
    const state = element("state");
    const count = this.isText() ? "The text is changed" : plural(this.form.changes().length, "change");
    state.classList.toggle("bad", isDirty && problems > 0);
    state.textContent = !isDirty ? "Nothing changed" : problems ? `${count}, ${plural(problems, "mistake")}` : count;
  }

  discard() {
    if (!confirm("Drop everything that you changed on this page?")) return;
    this.form.reset();
    this.reload();
  }

  reload() {
    this.form.reset();
    this.area.value = this.carried;
    this.isDirty = () => false;
    location.assign(location.pathname);
  }

  // Applying

  async review(note = "") {
    const verdict = await this.judge();
    if (!verdict) return;
    if (verdict.problems.length) {
      element("problems").scrollIntoView({ block: "center" });
      document.querySelector('[aria-invalid="true"]')?.focus();
      if (verdict.others.length === 0) return;
    }
    const dialog = element("dialog");
    element("dialog-others").hidden = verdict.others.length === 0;
    if (verdict.others.length) showDiff(element("dialog-others-diff"), verdict.others);
    element("dialog-yours").hidden = false;
    showDiff(element("dialog-diff"), verdict.diff);
    if (!verdict.diff.length) element("dialog-diff").replaceChildren(make("span", { class: "line same" }, "Nothing: the file says this already."));
    element("dialog-effect").replaceChildren(...this.effect(verdict));
    this.dialogProblem(note || (verdict.problems.length ? `${plural(verdict.problems.length, "mistake")} to mend first.` : ""));
    element("dialog-apply").disabled = verdict.problems.length > 0 || verdict.diff.length === 0;
    if (!dialog.open) dialog.showModal();
  }

  effect(found) {
    const keys = (list) => list.flatMap((key, index) => [index ? ", " : "", make("code", {}, key)]);
    const made = [];
    if (found.at_once?.length) made.push(make("p", {}, make("strong", {}, "At once: "), ...keys(found.at_once)));
    if (found.at_restart?.length) made.push(make("p", {}, make("strong", {}, "At the next start of the manager: "), ...keys(found.at_restart)));
    return made;
  }

  dialogProblem(text) {
    element("dialog-problem").hidden = !text;
    element("dialog-problem").textContent = text;
  }

  async apply() {
    const button = element("dialog-apply");
    button.disabled = true;
    try {
      const done = await ask("PUT", this.path, this.proposal(), { "if-match": `"${this.verdict.digest}"` });
      sessionStorage.setItem("piman-applied", JSON.stringify({ name: this.name, backup: done.backup, ...done.applied }));
      this.reload();
    } catch (reason) {
      if (!(reason instanceof Failed)) this.dialogProblem("The manager does not answer. What you typed is still here: try again.");
      else if (reason.status === 412) await this.review(`${reason.message.split(". ")[0]}. Look at the difference, then apply again.`);
      else {
        this.dialogProblem(`Not applied: ${reason.message}`);
        if (reason.verdict) this.take(reason.verdict, this.isText());
        button.disabled = Boolean(reason.verdict);
      }
    }
  }

  tellWhatWasApplied() {
    let done = null;
    try {
      done = JSON.parse(sessionStorage.getItem("piman-applied"));
      sessionStorage.removeItem("piman-applied");
    } catch {
      return;
    }
    if (!done || done.name !== this.name) return;
    const place = element("applied");
    const parts = [make("p", { class: "what" }, done.taken ? "Applied." : "Written.")];
    parts.push(...this.effect(done));
    if (done.note) parts.push(make("p", {}, done.note));
    for (const each of done.warnings ?? []) parts.push(make("p", {}, each));
    if (done.backup) parts.push(make("p", { class: "small" }, "The old file is kept beside it: ", make("code", {}, done.backup)));
    place.replaceChildren(...parts);
    place.hidden = false;
  }

  // Others

  async lookAgain() {
    if (document.hidden || element("dialog").open || !element("others").hidden) return;
    try {
      const found = await ask("GET", this.path, undefined, { "if-none-match": `"${this.digest}"` });
      if (found && found.text.replaceAll("\r\n", "\n") !== this.base) this.tellOthers(found.last_change);
      else if (found) this.digest = found.digest;
    } catch {
      // told when something is asked of it
    }
  }

  tellOthers(change) {
    element("others").hidden = false;
    const when = change ? new Date(change.time * 1000).toLocaleTimeString() : "";
    element("others-who").textContent = change ? `${change.who}, from ${change.source}, at ${when}` : "By hand, or before the manager was started.";
  }
}
