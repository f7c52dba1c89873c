/** The images: which is the default, and which nodes and tags get another one. */

import { counted, post, refreshParts, toast } from "./page.js";

const ADDRESS = "/api/v1/images";

/** Order a change, tell what became of it, show the page as it is then. */
async function change(what, body, told) {
  try {
    const { nodes } = await post(`${ADDRESS}/${what}`, body);
    toast("good", `${told} It is about ${counted(nodes.length, "node")} when installed next.`);
  } catch (refused) {
    toast("bad", `${refused.message} ${refused.hint}`);
    return false;
  }
  await refreshParts();
  return true;
}

async function pressed(button, what, body, told) {
  button.disabled = true;
  await change(what, body, told);
  button.disabled = false;
}

function offerChanges(root) {
  root.querySelectorAll("[data-default], [data-unassign]").forEach((button) => {
    button.hidden = false;
    const { default: image, unassign: word } = button.dataset;
    button.addEventListener("click", () => image === undefined
      ? pressed(button, "unassign", { nodes: [word] }, "What the files say counts again.")
      : pressed(button, "default", { image }, `${image} is the default.`));
  });
}

const assigning = document.getElementById("assigning");
if (assigning) {
  assigning.hidden = false;
  const form = assigning.querySelector("form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const nodes = form.elements.nodes.value.split(/[\s,]+/).filter(Boolean);
    if (!nodes.length) return;
    const image = form.elements.image.value;
    const button = form.querySelector("button");
    button.disabled = true;
    if (await change("assign", { image, nodes }, `${image} is assigned.`)) form.elements.nodes.value = "";
    button.disabled = false;
  });
}

offerChanges(document);
document.addEventListener("part", (event) => offerChanges(event.detail));
