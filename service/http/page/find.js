// Finds a stored note by what it is about, or by its id.

import { call } from "./api.js";
import { announceFound, byId, make, show } from "./dom.js";
import { curlLine } from "./filters.js";
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

let latest = null;

async function find(text) {
  const place = byId("find-result"), body = { note: { title: text }, limit: 20 };
  latest = body;
  show(place, make("progress", { "aria-label": "Looking for notes" }));
  try {
    const { neighbours } = await call("POST", "notes/similar", body);
    if (latest !== body) return;
    show(place, make("h3", {}, "Notes about it"), neighbourList(neighbours), curlLine("POST", "notes/similar", body));
    announceFound(neighbours.length);
  } catch (error) {
    if (latest === body) showProblem(place, error, () => find(text));
  }
}
