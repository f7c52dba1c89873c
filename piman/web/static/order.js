/** Orders: first the plan, in a dialog, then, when the operator says so, the operation. */

import { counted, duration, get, make, post, toast } from "./page.js";

const VERBS = { restart: "Restart", reinstall: "Reinstall", "power-on": "Power on", "power-off": "Power off" };
const WARNINGS = {
  reinstall: "Everything on their cards is replaced.",
  "power-off": "They stay off until somebody switches them on.",
};
const ADDRESS = "/api/v1/operations";

const dialog = document.getElementById("plan");
const title = document.getElementById("plan-title");
const body = document.getElementById("plan-body");
const run = document.getElementById("plan-run");
const choice = document.getElementById("plan-image");
let wish = null;

/**
 * Ask for the plan of an order and show it.
 *
 * @param {string} action
 * @param {string[]} words what names the targets, as the API takes it
 */
export async function offer(action, words) {
  wish = { action, nodes: words };
  choice.hidden = true;
  if (action === "reinstall") offerImages(wish);
  await plan();
}

/** Another image than each node's own, when there is one to choose from. */
async function offerImages(asked) {
  let known;
  try {
    known = await get("/api/v1/images");
  } catch {
    return;
  }
  if (asked.action !== wish.action || asked.nodes !== wish.nodes || !dialog.open) return;
  const own = make("option", { value: "" }, "each node's own");
  choice.querySelector("select").replaceChildren(own, ...known.images.map(({ name }) => make("option", { value: name }, name)));
  choice.hidden = known.images.length === 0;
}

async function plan() {
  const { action } = wish;
  title.textContent = `${VERBS[action]}: asking for the plan…`;
  body.replaceChildren(make("p", { class: "muted" }, "Nothing is switched before you say so."));
  run.hidden = true;
  if (!dialog.open) {
    dialog.showModal();
    title.focus();
  }
  const asked = wish;
  try {
    const { plan } = await post(ADDRESS, { ...wish, dry_run: true });
    if (asked === wish && dialog.open) showPlan(plan);
  } catch (refused) {
    if (asked === wish) showRefusal(`${VERBS[action]}: this cannot be done`, refused);
  }
}

function showPlan(plan) {
  const count = plan.targets.length;
  const what = `${VERBS[plan.action].toLowerCase()} ${counted(count, "target")}`;
  title.textContent = `${VERBS[plan.action]} ${counted(count, "target")}?`;
  const facts = [];
  if (plan.expected_seconds) facts.push(`Takes about ${duration(plan.expected_seconds)}.`);
  if (plan.at_most) facts.push(`${plan.at_most} at a time.`);
  if (plan.image) facts.push(`Image: ${plan.image}.`);
  body.replaceChildren(...[
    WARNINGS[plan.action] && notice("warning", WARNINGS[plan.action]),
    plan.needs_yes && notice("warning", `These are more nodes than operations.max_blast allows without a second thought: ${count}.`),
    ...plan.notes.map((note) => notice("note", note)),
    facts.length && make("p", {}, facts.join(" ")),
    targets(plan.targets),
  ].filter(Boolean));
  run.hidden = false;
  run.disabled = false;
  run.className = plan.needs_yes || WARNINGS[plan.action] ? "danger" : "primary";
  run.textContent = plan.needs_yes ? `Yes, ${what}` : what[0].toUpperCase() + what.slice(1);
  wish = { ...wish, yes: plan.needs_yes };
}

function targets(found) {
  const rows = found.map((each) => make("tr", {},
    make("th", { scope: "row" }, each.name),
    make("td", { "data-label": "Port" }, each.port ? `${each.port.label} port ${each.port.port}` : "no known port"),
    make("td", { class: "muted" }, each.rule)));
  const head = make("tr", {}, ...["Target", "Port", "Found by"].map((name) => make("th", { scope: "col" }, name)));
  const table = make("table", { class: "stacks" }, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Targets" }, table);
}

function notice(kind, text) {
  return make("div", { class: `notice ${kind}` }, make("p", {}, text));
}

function showRefusal(heading, refused) {
  title.textContent = heading;
  const told = notice("bad", refused.message);
  if (refused.hint) told.append(make("p", {}, refused.hint));
  body.replaceChildren(told);
  run.hidden = true;
}

async function carryOut() {
  run.disabled = true;
  try {
    const { operation } = await post(ADDRESS, wish);
    dialog.close();
    toast("good", "It has begun: ", make("a", { href: `/operations/${operation.id}` }, `operation ${operation.id}`));
    document.dispatchEvent(new CustomEvent("ordered", { detail: operation }));
  } catch (refused) {
    showRefusal("It was not begun", refused);
  }
}

choice?.querySelector("select").addEventListener("change", (event) => {
  wish = { action: wish.action, nodes: wish.nodes, ...(event.target.value && { image: event.target.value }) };
  plan();
});
run?.addEventListener("click", carryOut);
document.getElementById("plan-cancel")?.addEventListener("click", () => dialog.close());
