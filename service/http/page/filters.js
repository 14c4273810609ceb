// The filters of a search for neighbours, and the curl line that does the same.

import { hasKey, ROOT } from "./api.js";
import { make } from "./dom.js";

/**
 * Makes the controls. `query()` returns the parameters of the API that differ from its defaults.
 * @param {string} prefix of the controls' ids
 * @param {string[]} categories the checkpoint's
 * @param {Function} changed called when a control was changed
 */
export function makeFilters(prefix, categories, changed) {
  const control = (name, label, element) => {
    element.id = `${prefix}-${name}`;
    element.name = name;
    element.addEventListener("change", changed);
    return make("div", {}, make("label", { for: element.id }, label), element);
  };
  const limit = make("select", {}, [5, 10, 20, 50, 100].map((count) => make("option", { value: count, selected: count === 10 }, count)));
  const category = make("select", {}, make("option", { value: "" }, "any"), categories.map((name) => make("option", { value: name }, name)));
  const hashtag = make("input", { dir: "auto", autocomplete: "off" });
  const after = make("input", { type: "date" });
  const score = make("input", { type: "number", min: -1, max: 1, step: 0.05 });
  const diversity = make("select", {}, ["0", "0.2", "0.4", "0.5", "0.6", "0.8", "1"].map((share) => make("option", { value: share }, share)));
  const element = make("details", {}, make("summary", {}, "Filters"),
    make("div", { class: "fields" },
      control("limit", "How many", limit), control("category", "Category", category), control("hashtag", "Has the hashtag", hashtag),
      control("created_after", "Published after", after), control("min_score", "Score at least", score),
      control("diversity", "Diversity, 0 to 1", diversity)));
  const query = () => {
    const found = { limit: Number(limit.value) };
    if (category.value) found.category = category.value;
    if (hashtag.value.trim()) found.hashtag = hashtag.value.trim();
    if (after.value) found.created_after = `${after.value}T00:00:00Z`;
    if (score.value !== "") found.min_score = Number(score.value);
    if (Number(diversity.value)) found.diversity = Number(diversity.value);
    return found;
  };
  return { element, query };
}

/** `a=1&b=2` */
export const asQuery = (parameters) => new URLSearchParams(parameters).toString();

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The command that asks the same, with a button that copies it. */
export function curlLine(method, path, body) {
  const line = ["curl -s", quoted(new URL(path, ROOT).href)];
  if (hasKey()) line.push('-H "Authorization: Bearer $NOTELLM_API_KEY"');
  if (method === "POST") line.push("-H 'Content-Type: application/json'", "-d", quoted(JSON.stringify(body)));
  const command = line.join(" ");
  const copy = make("button", { type: "button", class: "plain" }, "Copy");
  copy.addEventListener("click", async () => {
    // Browsers offer the clipboard to pages of HTTPS and of this machine only.
    try { await navigator.clipboard.writeText(command); copy.textContent = "Copied"; } catch { copy.textContent = "Select the line and copy it"; }
  });
  return make("details", {}, make("summary", {}, "The same with curl"), make("pre", { tabindex: 0 }, command), copy);
}
