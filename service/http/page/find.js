// Finds a stored note by what it is about, or by its id.

import { call } from "./api.js";
import { byId, make, show } from "./dom.js";
import { neighbourList } from "./notes.js";
import { showProblem } from "./problems.js";

export function openFind() {
  const form = byId("find-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const id = form.elements.id.value.trim(), text = form.elements.text.value.trim();
    if (id) window.location.hash = `#/note/${encodeURIComponent(id)}`;
    else if (text) find(text);
  });
}

async function find(text) {
  const place = byId("find-result");
  show(place, make("progress", { "aria-label": "Looking for notes" }));
  try {
    const found = await call("POST", "notes/similar", { note: { title: text }, limit: 20 });
    show(place, make("h3", {}, "Notes about it"), neighbourList(found.neighbours));
  } catch (error) {
    showProblem(place, error, () => find(text));
  }
}
