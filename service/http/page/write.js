// A note that is not stored: what the model suggests for it, and what is near it.

import { call } from "./api.js";
import { announceFound, byId, make, show } from "./dom.js";
import { curlLine, makeFilters } from "./filters.js";
import { mapLink } from "./map.js";
import { neighbourList, suggestions } from "./notes.js";
import { showProblem } from "./problems.js";

const EXAMPLE = {
  title: "Espresso runs through in ten seconds, how do I slow it down?",
  content: "Same beans and dose as before, but the shot gushes and tastes sour. Should I grind finer or tamp harder?",
};
const COUNT = 5;
let running = null, filters = null;

export function openWrite() {
  const form = byId("write-form");
  byId("example").addEventListener("click", () => {
    form.elements.title.value = EXAMPLE.title;
    form.elements.content.value = EXAMPLE.content;
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); ask(form, filters?.query() ?? {}); });
}

export function filterWrite(model) {
  filters = makeFilters("write", model.categories, () => byId("write-form").requestSubmit());
  byId("write-result").before(filters.element);
}

async function ask(form, wanted) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const note = {
    title: form.elements.title.value, content: form.elements.content.value,
    hashtags: form.elements.hashtags.value.split(/[\s,]+/).filter(Boolean),
  };
  const tags = make("div", {}, make("p", {}, make("progress", { "aria-label": "The model reads the note" })));
  const near = make("div", {}, make("p", {}, make("progress", { "aria-label": "Looking for neighbours" })));
  show(byId("write-result"), make("div", { class: "columns" },
    make("section", { "aria-label": "Suggestions" }, make("h3", {}, "Hashtags and category"), tags),
    make("section", { "aria-label": "Neighbours" }, make("h3", {}, "Notes near it"), near)));
  const again = () => ask(form, wanted);
  const suggested = { notes: [note], count: COUNT }, similar = { note, ...wanted };
  await Promise.all([
    call("POST", "notes/hashtags", suggested, signal).then(
      (found) => show(tags, suggestions(found.notes[0]), curlLine("POST", "notes/hashtags", suggested)),
      (error) => showProblem(tags, error, again)),
    call("POST", "notes/similar", similar, signal).then(
      (found) => { announceFound(found.neighbours.length); show(near, found.neighbours.length ? make("p", {}, mapLink(note, found.neighbours)) : null, neighbourList(found.neighbours, note), curlLine("POST", "notes/similar", similar)); },
      (error) => showProblem(near, error, again)),
  ]);
}
