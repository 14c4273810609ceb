// Shows the view that the address names after its "#", and the model that answers.

import { call } from "./api.js";
import { byId, make, show } from "./dom.js";
import { openFind } from "./find.js";
import { openHistory, showHistory } from "./history.js";
import { hideMap, openMap, showMap } from "./map.js";
import { showProblem } from "./problems.js";
import { hideService, showService } from "./service.js";
import { openStored, showStored } from "./stored.js";
import { filterWrite, openWrite } from "./write.js";

const VIEWS = { write: null, find: null, note: showStored, history: showHistory, map: () => showMap(), service: showService };
const LEFT = { map: hideMap, service: hideService };
let current = null, opened = false;

/** Shows the view. `moved`: somebody has chosen it, so the focus goes with them. */
function route(moved) {
  const { hash } = window.location;
  if (hash && !hash.startsWith("#/")) return; // the link that skips to the content
  const [name, ...rest] = hash.slice(2).split("/");
  const view = Object.hasOwn(VIEWS, name) ? name : "write";
  if (current && current !== view) LEFT[current]?.();
  for (const other of Object.keys(VIEWS)) byId(`view-${other}`).hidden = other !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = byId(`view-${view}`).querySelector("h2");
  document.title = `${heading.textContent} · NoteLLM`;
  if (moved) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); window.scrollTo(0, 0); }
  current = view;
  if (opened) VIEWS[view]?.(decode(rest.join("/")));
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

async function open() {
  try {
    const model = await call("GET", "model");
    show(byId("messages"), model.warning ? make("p", { class: "notice" }, model.warning) : null);
    const notes = `${model.notes_estimated ? "about " : ""}${model.notes.toLocaleString("en")} ${model.notes === 1 ? "note" : "notes"}`;
    show(byId("served"), `${model.name} · ${notes}`);
    filterWrite(model);
    openStored(model);
    openHistory(model);
    openMap();
    opened = true;
    route(false);
  } catch (error) {
    showProblem(byId("messages"), error, open);
  }
}

openFind();
openWrite();
window.addEventListener("hashchange", () => route(true));
document.addEventListener("key", () => { if (!opened) open(); });
route(false);
open();
