// A user's history: what the mean of the picked notes finds, beside what the newest one finds from its text alone.

import { call } from "./api.js";
import { announceFound, byId, make, show } from "./dom.js";
import { curlLine, makeFilters } from "./filters.js";
import { neighbourList, noteLink } from "./notes.js";
import { history, removeFromHistory } from "./picked.js";
import { showProblem } from "./problems.js";

// The filters stay in the page while lists come and go, so that they keep the focus.
const chosen = make("div", {}), found = make("div", {}), near = make("div", { hidden: true });
let filters = null;

export function openHistory(model) {
  filters = makeFilters("history", model.categories, showHistory);
  show(near, filters.element, found);
  show(byId("history-result"), chosen, near);
}

export async function showHistory() {
  const picked = history();
  near.hidden = !picked.length;
  if (!picked.length) {
    show(chosen, make("p", {}, "Nothing is picked yet: ", make("a", { href: "#/find" }, "find notes"), " and add them to the history."));
    return;
  }
  const mean = make("div", {}, make("progress", { "aria-label": "Looking for notes near all of them" }));
  const cold = make("div", {}, make("progress", { "aria-label": "Looking for notes near the newest one" }));
  show(chosen, make("ul", { class: "plain", "aria-label": "Picked notes" }, picked.map((note) => make("li", { class: "row" }, noteLink(note), remove(note)))));
  show(found,
    make("div", { class: "columns" },
      make("section", { "aria-label": "Near all of them" }, make("h3", {}, `Near the mean of ${picked.length === 1 ? "this note" : `these ${picked.length} notes`}`), mean),
      make("section", { "aria-label": "Cold start" }, make("h3", {}, "Near the newest one's text (cold start)"), cold)));
  const ids = picked.map((note) => note.id), newest = picked.at(-1);
  const all = { ids, skip_missing: true, ...filters.query() };
  const text = { note: { title: newest.title, content: newest.content, hashtags: newest.hashtags }, exclude: ids, ...filters.query() };
  await Promise.all([find(mean, all, newest), find(cold, text, newest)]);
}

async function find(place, body, asked) {
  try {
    const answer = await call("POST", "notes/similar", body);
    const gone = answer.missing?.length ? make("p", { class: "notice" }, `No longer stored: ${answer.missing.join(", ")}.`) : null;
    show(place, gone, neighbourList(answer.neighbours, asked), curlLine("POST", "notes/similar", body));
    announceFound(answer.neighbours.length);
  } catch (error) {
    showProblem(place, error, () => find(place, body, asked));
  }
}

const remove = (note) =>
  make("button", { type: "button", class: "plain", "aria-label": `Remove ${note.title || note.id}`, on: { click: () => { removeFromHistory(note.id); showHistory(); } } }, "Remove");
