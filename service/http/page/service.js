// Model and operations at a glance, from /model, /metrics and /admin/migration.

import { call, Problem, text } from "./api.js";
import { byId, make, percent, show } from "./dom.js";
import { showProblem } from "./problems.js";

const POLL_MILLISECONDS = 3000;
let timer = null, open = false, before = null;
// What the key may not see is not asked for again and again.
let refused = new Set();
document.addEventListener("key", () => { refused = new Set(); });

export function hideService() {
  open = false;
  clearTimeout(timer);
}

export async function showService() {
  open = true;
  clearTimeout(timer);
  const place = byId("service-result");
  try {
    const [model, metrics, migration] = await Promise.all([
      call("GET", "model"), optional("metrics", () => text("metrics")), optional("admin", () => call("GET", "admin/migration")),
    ]);
    if (!open) return;
    refresh(place, [
      table("Model", modelRows(model)), metrics === null ? needs("metrics") : table("Now", metricRows(parse(metrics))),
      migration === null ? needs("admin") : table("Change of model", migrationRows(migration)),
    ]);
    timer = setTimeout(showService, POLL_MILLISECONDS);
  } catch (error) {
    if (open) showProblem(place, error, showService);
  }
}

/** What this key may not see is null; other errors are shown. */
async function optional(scope, ask) {
  if (refused.has(scope)) return null;
  try { return await ask(); } catch (error) {
    if (!(error instanceof Problem && error.status === 403)) throw error;
    refused.add(scope);
    return null;
  }
}

/** Puts new values into the tables that are there, so that nobody loses the place at which they read. */
function refresh(place, parts) {
  const fresh = make("div", {}, ...parts), cells = fresh.querySelectorAll("td"), old = place.querySelectorAll("td");
  const labels = (element) => [...element.querySelectorAll("h3, th, p")].map((one) => one.textContent).join("\n");
  if (labels(fresh) !== labels(place)) { show(place, fresh); return; }
  cells.forEach((cell, number) => { if (!cell.isEqualNode(old[number])) old[number].replaceWith(cell); });
}

const needs = (scope) => make("p", { class: "quiet" }, `More is shown to a key with the scope ${scope}.`);

const table = (name, rows) => [make("h3", {}, name), make("table", {}, make("tbody", {}, rows.map(([label, ...value]) =>
  make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, ...value)))))];

const count = (number) => Math.round(number).toLocaleString("en");

function modelRows(model) {
  return [
    ["Name", model.name], ["Trained from", model.base_model], ["Vectors", `${count(model.dimensions)} numbers`],
    ["Longest prompt", `${count(model.max_tokens)} tokens`], ["Categories", model.categories.join(", ") || "none"],
    ["Runs on", model.engine], ["Index", model.index], ["Notes", `${model.notes_estimated ? "about " : ""}${count(model.notes)}`],
  ];
}

function migrationRows(migration) {
  if (migration.phase === "none") return [["State", "none"]];
  const all = migration.notes, done = all - migration.lacking;
  return [
    ["State", migration.phase], ["To", migration.target?.vector ?? ""],
    ["Notes done", make("progress", { value: done, max: Math.max(all, 1), "aria-label": "Notes done" }), ` ${count(done)} of ${count(all)}`],
    ...(migration.error ? [["Problem", migration.error]] : []),
  ];
}

/** Reads Prometheus' text format: a list of {name, labels, value}. */
function parse(exposition) {
  const samples = [];
  for (const line of exposition.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    samples.push({ name: found[1], labels, value: Number(found[3].replace("+Inf", "Infinity")) });
  }
  return samples;
}

const QUIET = new Set(["/health/live", "/health/ready", "/metrics", "/model", "/admin/migration"]); // probes, and this view

function metricRows(samples) {
  const of = (name, wanted = () => true) => samples.filter((sample) => sample.name === name && wanted(sample.labels));
  const sum = (found) => found.reduce((total, sample) => total + sample.value, 0);
  const requests = sum(of("notellm_http_requests_total", (labels) => !QUIET.has(labels.route)));
  const now = performance.now() / 1000;
  const rate = before ? (requests - before.requests) / Math.max(now - before.at, 0.001) : null;
  before = { requests, at: now };
  const waiting = of("notellm_queue_tokens"), limits = of("notellm_queue_max_tokens");
  const cut = of("notellm_truncations_total").filter((sample) => sample.value).map((sample) => `${sample.labels.field} ${count(sample.value)}`);
  return [
    ["Requests answered", count(requests)],
    ["Requests a second", rate === null ? "in a moment" : rate.toFixed(1)],
    ["Time of an answer", latency(of("notellm_http_request_seconds_bucket", (labels) => !QUIET.has(labels.route)))],
    ...waiting.map((sample) => {
      const limit = limits.find((one) => one.labels.queue === sample.labels.queue)?.value || 1;
      return [`Queue ${sample.labels.queue}`, make("meter", { min: 0, max: limit, value: sample.value, "aria-label": "filled" }), ` ${count(sample.value)} tokens wait, ${percent(sample.value / limit)} of the limit`];
    }),
    ["Notes cut off", cut.join(", ") || "none"],
  ];
}

/** The bounds under which half and nineteen of twenty answers stay, since the start. */
function latency(buckets) {
  const bounds = new Map();
  for (const { labels, value } of buckets) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    bounds.set(bound, (bounds.get(bound) || 0) + value);
  }
  const sorted = [...bounds].sort((one, other) => one[0] - other[0]), total = sorted.at(-1)?.[1] || 0;
  if (!total) return "no request yet";
  const under = (share) => sorted.find(([, value]) => value >= share * total)[0];
  const named = (bound) => (bound === Infinity ? "more than two minutes" : bound < 1 ? `${bound * 1000} ms` : `${bound} s`);
  return `half within ${named(under(0.5))}, 95% within ${named(under(0.95))}`;
}
