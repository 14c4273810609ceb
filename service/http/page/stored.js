// A stored note and its neighbours: from there one walks on.

import { call, notePath } from "./api.js";
import { announceFound, byId, make, show } from "./dom.js";
import { asQuery, curlLine, makeFilters } from "./filters.js";
import { mapLink } from "./map.js";
import { neighbourList, wholeNote } from "./notes.js";
import { showProblem } from "./problems.js";

// The filters stay in the page while lists come and go, so that they keep the focus.
const whole = make("div", {}), list = make("div", {}), near = make("div", { hidden: true });
let filters = null, shown = null, latest = 0;

export function openStored(model) {
  filters = makeFilters("near", model.categories, () => showStored(shown));
  show(near, make("h3", {}, "Notes near it"), filters.element, list);
  show(byId("note-result"), whole, near);
}

export async function showStored(id) {
  if (shown !== id) { show(whole, make("progress", { "aria-label": "Reading the note" })); near.hidden = true; }
  shown = id;
  latest += 1;
  const asked = latest; // an earlier answer must not come after a later one
  const path = `${notePath(id)}/similar?${asQuery(filters.query())}`;
  list.setAttribute("aria-busy", "true");
  try {
    const [note, found] = await Promise.all([call("GET", notePath(id)), call("GET", path)]);
    if (asked !== latest) return;
    show(whole, wholeNote(note));
    show(list, make("p", {}, mapLink(note, found.neighbours)), neighbourList(found.neighbours, note), curlLine("GET", path));
    announceFound(found.neighbours.length);
  } catch (error) {
    if (asked !== latest) return;
    show(whole);
    showProblem(list, error, () => showStored(id));
  }
  list.removeAttribute("aria-busy");
  near.hidden = false;
}
