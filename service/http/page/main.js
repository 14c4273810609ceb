// Shows the view that the address names after its "#", and the model that answers.

import { call } from "./api.js";
import { byId, make, show } from "./dom.js";
import { openFind } from "./find.js";
import { openHistory, showHistory } from "./history.js";
import { hideMap, openMap, showMap } from "./map.js";
import { showProblem } from "./problems.js";
import { hideService, showService } from "./service.js";
import { openStored, showStored } from "./stored.js";
import { openWrite } from "./write.js";

const VIEWS = { write: null, find: null, note: showStored, history: showHistory, map: () => showMap(), service: showService };
const LEFT = { map: hideMap, service: hideService };
let current = null, opened = false;

function route() {
  const [name, ...rest] = window.location.hash.replace(/^#\//, "").split("/");
  const view = name in VIEWS ? name : "write";
  if (current && current !== view) LEFT[current]?.();
  for (const other of Object.keys(VIEWS)) byId(`view-${other}`).hidden = other !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = byId(`view-${view}`).querySelector("h2");
  document.title = `${heading.textContent} · NoteLLM`;
  if (current !== null) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); window.scrollTo(0, 0); }
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
    openWrite(model);
    openStored(model);
    openHistory(model);
    openMap();
    opened = true;
    route();
  } catch (error) {
    showProblem(byId("messages"), error, open);
  }
}

openFind();
window.addEventListener("hashchange", route);
route();
open();
