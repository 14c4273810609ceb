// Shows notes, hashtags and lists of neighbours.

import { make, percent, written } from "./dom.js";
import { addToHistory, inHistory } from "./picked.js";

const MOST_TEXT = 300;

export const noteLink = (note) =>
  make("a", { href: `#/note/${encodeURIComponent(note.id)}` }, written(note.title || note.content.slice(0, MOST_TEXT) || note.id));

/** Hashtags are compared as the service does it: without case, "#" and hyphens. */
const asKey = (hashtag) => hashtag.normalize("NFKC").toLowerCase().replace(/[#\s_-]/g, "");

/** A note's hashtags; those that another note has as well stand out. */
export function tagList(hashtags, others = []) {
  const shared = new Set(others.map(asKey));
  return make("ul", { class: "tags", "aria-label": "Hashtags" }, hashtags.map((hashtag) =>
    shared.has(asKey(hashtag))
      ? make("li", { class: "shared", title: "shared" }, written(hashtag), make("span", { class: "quiet" }, " shared"))
      : make("li", {}, written(hashtag))));
}

function facts(note, category) {
  const parts = [];
  if (note.score !== undefined) parts.push(make("span", { class: "score" }, `score ${note.score.toFixed(3)}`));
  if (note.category) parts.push(make("span", {}, written(note.category), category && category === note.category ? " (same category)" : ""));
  if (note.created_at) parts.push(note.created_at.slice(0, 10));
  return make("p", { class: "quiet" }, parts.flatMap((part, place) => (place ? [" · ", part] : [part])));
}

function pick(note) {
  const button = make("button", { type: "button", class: "plain" });
  const name = () => {
    button.textContent = inHistory(note.id) ? "In the history" : "Add to history";
    button.disabled = inHistory(note.id);
  };
  button.addEventListener("click", () => { addToHistory(note); name(); });
  name();
  return button;
}

/** Neighbours, nearest first, each a link to its own neighbours. */
export function neighbourList(neighbours, asked = {}) {
  if (!neighbours.length) return make("p", {}, "No stored note fits.");
  return make("ol", { class: "plain" }, neighbours.map((note) =>
    make("li", { class: "note" },
      make("h4", {}, noteLink(note)), facts(note, asked.category),
      note.hashtags.length ? tagList(note.hashtags, asked.hashtags) : null,
      note.title && note.content ? written(shortened(note.content), "p", { class: "text" }) : null,
      pick(note))));
}

const shortened = (text) => (text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}…` : text);

/** A whole note. */
export function wholeNote(note) {
  return make("div", { class: "note" },
    note.title ? written(note.title, "h3") : null, facts(note),
    note.hashtags.length ? tagList(note.hashtags) : null,
    note.content.length > 3 * MOST_TEXT
      ? make("details", {}, make("summary", {}, "Text"), written(note.content, "p", { class: "text" }))
      : written(note.content, "p", { class: "text" }),
    make("p", { class: "quiet" }, "Id: ", written(note.id)),
    pick(note));
}

const SOURCES = { model: "the model", neighbours: "stored notes near it" };

/** Suggested hashtags and category of one note, with what was read of it. */
export function suggestions(found) {
  const rows = found.hashtags.map((one) => make("tr", {},
    make("th", { scope: "row" }, written(one.hashtag)),
    make("td", { class: "number" }, make("meter", { min: 0, max: 1, value: one.confidence, "aria-label": "confidence" }), ` ${percent(one.confidence)}`),
    make("td", {}, one.sources.map((source) => SOURCES[source] || source).join(", "))));
  const category = found.category
    ? make("p", {}, "Category: ", make("strong", {}, written(found.category.category)), ` (${percent(found.category.confidence)} sure)`)
    : null;
  return [
    rows.length
      ? make("table", {}, make("thead", {}, make("tr", {}, ["Hashtag", "Confidence", "Comes from"].map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, rows))
      : make("p", {}, "No hashtag fits."),
    category,
    make("p", { class: "quiet" }, `The model read ${found.tokens} tokens. `, cut(found.truncated)),
  ];
}

const cut = (fields) =>
  fields.length ? `Too long, so that the end was cut off: ${fields.join(", ")}.` : "Nothing was cut off.";
