// Shows what went wrong, and what to do about it.

import { isKey, Problem, setKey } from "./api.js";
import { byId, make, seconds, show } from "./dom.js";

const TITLES = {
  0: "No answer",
  401: "An API key is needed",
  403: "This key may not do that",
  404: "Not found",
  413: "Too much text",
  422: "The service cannot take this",
  429: "Too many requests",
  500: "The service failed",
  503: "Not available now",
  504: "This took too long",
};

/**
 * Shows an error in place of a result. After a 429 or 503 it counts the wait down; then the button works.
 * @param {HTMLElement} place
 * @param {Error} error
 * @param {Function} again tries again
 */
export function showProblem(place, error, again) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) { show(place, make("p", { class: "notice", role: "alert" }, `This page failed: ${error.message}`)); throw error; }
  if (error.status === 401) { askForKey(error.message, again); show(place, refusal(error, keyButton(error.message, again))); return; }
  if (error.status === 403) { show(place, refusal(error, keyButton(error.message, again))); return; }
  const button = make("button", { type: "button", class: "plain", on: { click: again } }, "Try again");
  const wait = make("span", {}); // outside of the alert, which would be read anew with each second
  show(place, refusal(error, button, wait));
  if (error.retryAfter) countDown(button, wait, error.retryAfter);
}

function refusal(error, ...more) {
  const detail = error.message.endsWith(".") || error.message.endsWith("?") ? error.message : `${error.message}.`;
  return make("div", { class: "notice problem" },
    make("div", { role: "alert" },
      make("p", {}, make("strong", {}, `${TITLES[error.status] || "The service refused this"}. `), detail[0].toUpperCase() + detail.slice(1)),
      error.requestId ? make("p", { class: "quiet" }, `In the service's log: ${error.requestId}`) : null),
    make("p", { class: "row" }, ...more));
}

function countDown(button, wait, left) {
  button.disabled = true;
  const tick = () => {
    if (left <= 0) { wait.replaceChildren(); button.disabled = false; return; }
    wait.replaceChildren(`The service asks to wait ${seconds(left)}.`);
    left -= 1;
    setTimeout(tick, 1000);
  };
  tick();
}

const keyButton = (reason, again) =>
  make("button", { type: "button", on: { click: () => askForKey(reason, again) } }, "Enter an API key");

/** Asks for a key, and then does again what needed it. */
export function askForKey(reason, again, waiting = []) {
  const dialog = byId("key-dialog"), field = byId("key");
  if (dialog.open) { pending.push(again); return; }
  pending = [...waiting, again];
  byId("key-reason").replaceChildren(reason[0].toUpperCase() + reason.slice(1));
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.onclose = () => {
    const given = field.value.trim();
    field.value = "";
    if (dialog.returnValue !== "use" || !given) return;
    if (!isKey(given)) { askForKey("this cannot be a key: a key has neither spaces nor letters with accents.", () => {}, pending); return; }
    setKey(given);
    for (const one of pending) one();
  };
}
let pending = [];
